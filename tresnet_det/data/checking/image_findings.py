"""What the images of the splits show, each alone and side by side."""

from collections import defaultdict
from collections.abc import Sequence

from ...common.errors import some
from ..image_checks import leaves_folder, missing_images, remedy_for_missing
from .findings import Finding, Level, Picture
from .images import orphans
from .reading import ReadSplit
from .same_images import leak, pairs_by_split

__all__ = ['alike', 'image_findings', 'missing_findings', 'orphan_findings']


def missing_findings(read: ReadSplit, allow_missing: bool = False) -> list[Finding]:
    """Images that are not there; kept in ``read.missing``.

    Args:
        read: The split, with a folder of images.
        allow_missing: ``skip_corrupt_images`` of the config.
    """
    split, names = read.split, read.names
    assert split.folder is not None
    if not split.folder.is_dir():
        read.missing = names
        return [
            Finding(
                Level.ERROR,
                split.name,
                f'the folder of images {split.folder} does not exist',
                'Set data_root and data_prefix in the config, or give another folder.',
            )
        ]
    found = []
    leaving = [name for name in names if leaves_folder(name)]
    if leaving:
        found.append(
            Finding(
                Level.WARNING,
                split.name,
                f'{len(leaving)} file names lead out of {split.folder}: '
                f'{some(leaving)}',
                'Names should be relative to the folder of images.',
            )
        )
    read.missing = list(missing_images(names, split.folder))
    if read.missing:
        gone = missing_images(read.missing, split.folder)
        all_gone = len(read.missing) == len(names)
        level = Level.WARNING if allow_missing and not all_gone else Level.ERROR
        found.append(
            Finding(
                level,
                split.name,
                f'{len(read.missing)} of {len(names)} images are not in '
                f'{split.folder}: {some(read.missing)}',
                remedy_for_missing(gone, split.ann_file, split.folder) + '.',
            )
        )
    return found


def image_findings(read: ReadSplit, allow_missing: bool = False) -> list[Finding]:
    """What is wrong or odd in the images that were read.

    Args:
        read: With ``facts``.
        allow_missing: ``skip_corrupt_images`` of the config.
    """
    problems = [(name, f.problem) for name, f in read.facts.items() if f.problem]
    found = []
    if problems:
        level = Level.WARNING if allow_missing else Level.ERROR
        listed = some(f'{name} {problem}' for name, problem in problems)
        found.append(
            Finding(
                level,
                read.split.name,
                f'{len(problems)} images cannot be used: {listed}',
                'Mend or remove them; in a config, skip_corrupt_images = True goes '
                'on without them.',
            )
        )
    turned = [name for name, f in read.facts.items() if f.turned]
    if turned:
        found.append(
            Finding(
                Level.NOTE,
                read.split.name,
                f'{len(turned)} images are turned or mirrored by their EXIF '
                f'({some(turned)})',
                'Training turns them as EXIF says. Look whether the boxes fit: some '
                'tools of annotation show images unturned.',
                _samples(read, turned),
            )
        )
    kinds = defaultdict(list)
    for name, one in read.facts.items():
        if one.kind:
            kinds[one.kind].append(name)
    for kind, names in kinds.items():
        found.append(
            Finding(
                Level.NOTE,
                read.split.name,
                f'{len(names)} images are {kind} ({some(names)})',
                'They are read as 8-bit colour images.',
                _samples(read, names[:1]),
            )
        )
    return found


def _samples(read: ReadSplit, names: Sequence[str]) -> tuple[Picture, ...]:
    boxes = defaultdict(list)
    for annotation in read.content['annotations']:
        boxes[annotation['image_id']].append(tuple(annotation['bbox']))
    images = {image['file_name']: image for image in read.content['images']}
    return tuple(
        Picture(read.path(images[name]), tuple(boxes[images[name]['id']]), name)
        for name in names[:3]
    )


def orphan_findings(reads: Sequence[ReadSplit]) -> list[Finding]:
    """Images that no annotation file names, folder by folder.

    Args:
        reads: All splits, for several may share a folder.
    """
    by_folder = defaultdict(list)
    for read in reads:
        if read.split.folder and read.split.folder.is_dir():
            by_folder[read.split.folder.resolve()].append(read)
    found = []
    for folder, sharing in by_folder.items():
        names = {i['file_name'] for read in sharing for i in read.content['images']}
        lost = orphans(folder, names)
        if lost:
            found.append(
                Finding(
                    Level.NOTE,
                    ' and '.join(read.split.name for read in sharing),
                    f'{len(lost)} images in {folder} are in no annotation file '
                    f'({some(lost)})',
                    'They are not used. Were they forgotten?',
                )
            )
    return found


def alike(reads: Sequence[ReadSplit]) -> list[Finding]:
    """Images that stand twice, within a split and in two of them.

    Args:
        reads: With ``facts``.
    """
    places = [(read, name) for read in reads for name in read.facts]
    groups = pairs_by_split(
        [read.facts[name] for read, name in places],
        [read.split.name for read, _ in places],
    )
    found = []
    for (first, second, what), pairs in groups.items():
        same = [(places[one], places[two]) for one, two in pairs]
        names = [f'{one[1]} = {two[1]}' for one, two in same]
        pictures = tuple(
            Picture(read.path({'file_name': name}), (), f'{read.split.name}: {name}')
            for pair in same[:3]
            for read, name in pair
        )
        if first == second:
            found.append(
                Finding(
                    Level.WARNING,
                    first,
                    f'{len(same)} pairs of images are {what} ({some(names)})',
                    'Keep one of each, unless their boxes differ on purpose; never '
                    'part them over two splits.',
                    pictures,
                )
            )
        else:
            found.append(
                Finding(
                    Level.ERROR,
                    f'{first} and {second}',
                    leak(first, second, what, names),
                    f'The figures on {second} would be too good. Look at the pairs '
                    'and take them out of one of the two.',
                    pictures,
                )
            )
    return found
