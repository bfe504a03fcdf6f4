"""Reads an annotation file of which as much as possible is to be said."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.fileio import get

from ...common.errors import UserError
from ...common.json_files import decode_json
from ..annotation_checks import annotation_faults, check_is_coco, kinds_of
from ..annotation_files import read_annotations
from ..box_table import BoxTable, box_table
from ..mending import Choices, put_in_order, repair
from .findings import Finding, Level
from .images import ImageFacts
from .splits import Split

__all__ = ['STEPS', 'ReadSplit', 'read_split']

STEPS = 4  # of reading: decoding, faults, repairs, order


@dataclass
class ReadSplit:
    """A split, its sound entries, and what a mended file would hold.

    Attributes:
        split: Where it is.
        content: COCO annotations, repaired; entries with faults are left out.
        mended: COCO annotations as ``--mend`` writes them.
        changes: What was done to the file for that, in words.
        left: Faults that ``--mend`` does not mend, in words.
        faulty: Training refuses the file as it is.
        names: Of the images, as the file has them.
        missing: Names of images that are not there.
        facts: File name -> what was found in the image.
    """

    split: Split
    content: dict[str, Any]
    mended: dict[str, Any]
    changes: list[str]
    left: list[str]
    faulty: bool = False
    names: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    facts: dict[str, ImageFacts] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """Names of the categories, once each, as the file has them."""
        return list(dict.fromkeys(c['name'] for c in self.content['categories']))

    def path(self, image: dict[str, Any]) -> Path:
        """Of an image."""
        return Path(self.split.folder or '.', image['file_name'])

    @cached_property
    def boxes(self) -> BoxTable:
        """All boxes of ``content``."""
        return box_table(self.content)

    def boxes_of_classes(self) -> dict[Any, int]:
        """Name of each category -> its boxes."""
        categories = self.content['categories']
        numbers = np.bincount(self.boxes.labels, minlength=len(categories)).tolist()
        counts: dict[Any, int] = {}
        for category, number in zip(categories, numbers):
            counts[category['name']] = counts.get(category['name'], 0) + number
        return counts


def read_split(
    split: Split, choices: Choices, step: Callable[[], object] = lambda: None
) -> tuple[ReadSplit | None, list[Finding]]:
    """Reads, and tells all that is wrong with keys, types and ids.

    Args:
        split: Where it is.
        choices: A person's, of mending.
        step: Called after each of ``STEPS`` steps, if all are made.

    Returns:
        None where the file is none of annotations.
    """
    try:
        content, encoding = _content(split)
    except UserError as error:
        return None, [Finding(Level.ERROR, split.name, str(error))]
    step()
    findings = []
    if encoding != 'utf-8':
        mark = 'a byte order mark' if encoding == 'utf-8-sig' else encoding.upper()
        findings.append(
            Finding(
                Level.ERROR,
                split.name,
                f'the file is written with {mark}; pycocotools reads plain UTF-8',
                '--mend writes it so.',
            )
        )
    kinds = kinds_of(annotation_faults(content, split.test_mode))
    step()
    for kind in kinds:
        if kind.mendable:
            remedy = '--mend mends it.'
        elif kind.droppable:
            remedy = (
                'Mend the file by hand, or leave these entries out: --mend ... --drop.'
            )
        else:
            remedy = 'Mend the file by hand.'
        findings.append(Finding(Level.ERROR, split.name, str(kind), remedy))
    # Repairing finds images under other names.
    names = [
        image['file_name']
        for image in content['images']
        if isinstance(image.get('file_name'), str)
    ]
    changes = repair(content, split.folder, choices, split.ann_file, not kinds)
    left = []
    if kinds or changes:
        left = [str(kind) for kind in kinds_of(annotation_faults(content, True))]
    step()
    mended = dict(content)
    read = ReadSplit(split, content, mended, changes, left, bool(findings), names)
    if left:
        _leave_out(content)
    else:
        changes += put_in_order(mended, read.boxes)
    if encoding != 'utf-8':
        changes.append(f'written in UTF-8 in place of {encoding.upper()}')
    step()
    return read, findings


def _content(split: Split) -> tuple[dict, str]:
    """What the file holds, and its encoding."""
    try:
        data = get(split.ann_file, backend_args=split.backend_args)
        content, encoding = decode_json(data)
    except (OSError, ValueError):
        read_annotations(split.ann_file, split.backend_args)  # says what is wrong
        raise
    check_is_coco(content, split.ann_file, split.test_mode)
    content.setdefault('annotations', [])
    return content, encoding


def _leave_out(content: dict) -> None:
    """What has a fault even so, until nothing has."""
    while wrong := {
        id(fault.entry)
        for fault in annotation_faults(content, True)
        if fault.entry is not None
    }:
        for part in ('images', 'annotations', 'categories'):
            content[part] = [e for e in content[part] if id(e) not in wrong]
