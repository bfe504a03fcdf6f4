"""Reads an annotation file of which as much as possible is to be said."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.fileio import get

from ...common.errors import UserError
from ...common.json_files import decode_json
from ..annotation_checks import annotation_faults, check_is_coco, kinds_of
from ..annotation_files import read_annotations
from ..box_checks import why_left_out
from ..mending import Choices, mend_annotations, put_in_order, repair
from ..proposal import Boxes
from .findings import Finding, Level
from .images import ImageFacts
from .splits import Split

__all__ = ['ReadSplit', 'read_split']


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

    def table(self) -> tuple[Boxes, np.ndarray, np.ndarray, list[dict]]:
        """The boxes that training uses: sizes, [x, y, w, h] of shape (N, 4), the
        places of their classes, and the annotations."""
        place = {image['id']: k for k, image in enumerate(self.content['images'])}
        images = [(i['width'], i['height']) for i in self.content['images']]
        names = {name: k for k, name in enumerate(self.classes)}
        label = {c['id']: names[c['name']] for c in self.content['categories']}
        used = [
            annotation
            for annotation in self.content['annotations']
            if not annotation.get('iscrowd')
            and not why_left_out(annotation, *images[place[annotation['image_id']]])
        ]
        boxes = np.array([a['bbox'] for a in used], dtype=float).reshape(-1, 4)
        where = np.array([place[a['image_id']] for a in used], dtype=int)
        labels = np.array([label[a['category_id']] for a in used], dtype=int)
        sizes = np.array(images, dtype=float).reshape(-1, 2)
        return Boxes(sizes, boxes[:, 2:], where), boxes, labels, used


def read_split(
    split: Split, choices: Choices
) -> tuple[ReadSplit | None, list[Finding]]:
    """Reads, and tells all that is wrong with keys, types and ids.

    Args:
        split: Where it is.
        choices: A person's, of mending.

    Returns:
        None where the file is none of annotations.
    """
    try:
        raw, content, encoding = _content(split)
    except UserError as error:
        return None, [Finding(Level.ERROR, split.name, str(error))]
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
    # The faults of the file as it is; mending works on copies of the entries.
    kinds = kinds_of(annotation_faults(raw, split.test_mode))
    for kind in kinds:
        if kind.mendable:
            remedy = '--mend mends it.'
        elif 'none of the' in kind.text or 'without' in kind.text:
            remedy = (
                'Mend the file by hand, or leave these entries out: --mend ... --drop.'
            )
        else:
            remedy = 'Mend the file by hand.'
        findings.append(Finding(Level.ERROR, split.name, str(kind), remedy))
    # Repairing finds images under other names.
    names = [
        image['file_name']
        for image in raw['images']
        if isinstance(image, dict) and isinstance(image.get('file_name'), str)
    ]
    done = repair(content, split.folder, choices, split.ann_file)
    if not kinds and not done:
        mended, left = _copy(content), []  # each look takes seconds for COCO
        changes = put_in_order(mended)
    else:
        mended = _copy(raw)
        changes = mend_annotations(mended, split.folder, choices, split.ann_file)
        left = [str(kind) for kind in kinds_of(annotation_faults(mended, True))]
        _leave_out(content)
    if encoding != 'utf-8':
        changes.append(f'written in UTF-8 in place of {encoding.upper()}')
    faulty = bool(findings)
    return ReadSplit(split, content, mended, changes, left, faulty, names), findings


def _content(split: Split) -> tuple[dict, dict, str]:
    """What the file holds, twice, and its encoding."""
    try:
        data = get(split.ann_file, backend_args=split.backend_args)
        raw, encoding = decode_json(data)
    except (OSError, ValueError):
        read_annotations(split.ann_file, split.backend_args)  # says what is wrong
        raise
    check_is_coco(raw, split.ann_file, split.test_mode)
    raw.setdefault('annotations', [])
    return raw, _copy(raw), encoding


def _copy(content: dict) -> dict:
    """Entries may be changed, what they hold may be replaced."""
    parts = ('images', 'annotations', 'categories')
    return {**content, **{part: [dict(e) for e in content[part]] for part in parts}}


def _leave_out(content: dict) -> None:
    """What has a fault even so, until nothing has."""
    while wrong := {
        id(fault.entry)
        for fault in annotation_faults(content, True)
        if fault.entry is not None
    }:
        for part in ('images', 'annotations', 'categories'):
            content[part] = [e for e in content[part] if id(e) not in wrong]
