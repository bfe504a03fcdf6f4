"""Classes over all splits: how many boxes each has, and where it is absent."""

from collections.abc import Sequence

from ...common.errors import some
from .findings import Finding, Level
from .reading import ReadSplit

__all__ = ['class_counts', 'class_findings']

FEW = 10  # boxes: no class is learned from less


def class_counts(reads: Sequence[ReadSplit]) -> dict[str, list[int]]:
    """Class name -> boxes in each split, in the order of the first file."""
    counts: dict[str, list[int]] = {}
    for place, read in enumerate(reads):
        for name, number in read.boxes_of_classes().items():
            row = counts.setdefault(str(name), [0] * len(reads))
            row[place] += number
    return counts


def class_findings(reads: Sequence[ReadSplit]) -> list[Finding]:
    """Classes without boxes, and splits that disagree about the classes."""
    where = ' and '.join(read.split.name for read in reads)
    found = []
    counts = class_counts(reads)
    never = [name for name, row in counts.items() if not any(row)]
    if never:
        found.append(
            Finding(
                Level.WARNING,
                where,
                f'{len(never)} classes have no box at all: {some(never)}',
                'They cannot be learned. If they only name a group, leave them out: '
                f'--mend ... --drop-classes {" ".join(map(repr, never))}.',
            )
        )
    for place, read in enumerate(reads):
        absent = [n for n, row in counts.items() if any(row) and not row[place]]
        if absent:
            text = f'{len(absent)} classes have no box here: {some(absent)}'
            remedy = (
                'COCO gives -1 for them and leaves them out of the mean.'
                if read.split.test_mode
                else 'They are evaluated but never learned: AP 0.'
            )
            found.append(Finding(Level.WARNING, read.split.name, text, remedy))
    few = [f'{name} ({row[0]})' for name, row in counts.items() if 0 < row[0] < FEW]
    if few:
        found.append(
            Finding(
                Level.NOTE,
                reads[0].split.name,
                f'{len(few)} classes have less than {FEW} boxes to learn from: '
                f'{some(few)}',
                'Annotate more of them, or do not expect to find them.',
            )
        )
    first = reads[0]
    for read in reads[1:]:
        # A config's classes are compared with each file.
        if read.split.classes is None and read.classes != first.classes:
            found.append(
                Finding(
                    Level.ERROR,
                    f'{first.split.name} and {read.split.name}',
                    f'the categories differ: {first.classes} and {read.classes}',
                    'MMDetection numbers them in the order of each file: write the '
                    'same ones, in the same order, in all files.',
                )
            )
    return found
