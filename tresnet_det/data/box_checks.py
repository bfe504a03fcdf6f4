"""Boxes that count for nothing, and boxes that are written as corners.

MMDetection leaves boxes out of training without a word, and COCO's evaluation
counts most of those as objects to find.
"""

import logging
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from mmengine.logging import print_log

from ..common.errors import UserError, some
from .annotation_files import how_to_mend
from .box_table import LEFT_OUT, BoxTable, box_table

__all__ = ['BoxFaults', 'check_boxes', 'look_at_boxes', 'wrong_boxes']


class BoxFaults(NamedTuple):
    """What all boxes of a set say together.

    Attributes:
        table: The boxes.
        left_out: Reason -> places of annotations that training leaves out.
        corners: How many fit as corners.
        beyond: How many leave their image on the right or below.
        fractions: How many are between 0 and 1.
    """

    table: BoxTable
    left_out: dict[str, np.ndarray]
    corners: int
    beyond: int
    fractions: int

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.table.ids)

    @property
    def are_corners(self) -> bool:
        # As boxes most leave their images, as corners hardly one does. (A wrong
        # size of an image makes some leave too.)
        return bool(
            self.total
            and 5 * self.beyond >= 3 * self.total
            and 20 * self.corners >= 19 * self.total
        )

    @property
    def are_fractions(self) -> bool:
        return bool(self.total) and self.fractions == self.total

    @property
    def of_other_sizes(self) -> bool:
        """Most leave their image."""
        return 2 * self.beyond > self.total


def look_at_boxes(table: BoxTable) -> BoxFaults:
    """Looks at all boxes of a set together."""
    x, y, w, h = table.boxes.T
    width, height = table.sizes.T
    corners = (0 <= x) & (x < w) & (w <= width + 1)
    corners &= (0 <= y) & (y < h) & (h <= height + 1)
    fractions = ((table.boxes >= 0) & (table.boxes <= 1)).all(1) & (w > 0) & (h > 0)
    reasons = table.reasons()
    places = {k: np.flatnonzero(reasons == k) for k in range(len(LEFT_OUT))}
    # In the order of the file.
    there = sorted((p[0], k) for k, p in places.items() if len(p))
    return BoxFaults(
        table,
        {LEFT_OUT[k]: places[k] for _, k in there},
        int(corners.sum()),
        int(table.beyond().sum()),
        int(fractions.sum()),
    )


def wrong_boxes(
    faults: BoxFaults, ann_file: str | os.PathLike, test_mode: bool = False
) -> str | None:
    """Why a set of boxes cannot be used, if it cannot.

    Args:
        faults: What was found.
        ann_file: Path of the annotations, for the message.
        test_mode: The file is evaluated on.
    """
    total = faults.total
    if faults.are_corners:
        return (
            f'{ann_file}: the boxes look like corners [x1, y1, x2, y2]: '
            f'{faults.beyond} of {total} leave their image as [x, y, width, '
            f'height], which COCO has, and {faults.corners} fit as corners. If '
            'they are right as they are, cut them off at the border of the image. '
            + how_to_mend(ann_file, '--corners')
        )
    if faults.are_fractions:
        return (
            f'{ann_file}: the boxes are fractions of the image, all {total} '
            'between 0 and 1; COCO has pixels. Multiply x and width by the '
            "image's width, y and height by its height"
        )
    if not test_mode and total and sum(map(len, faults.left_out.values())) == total:
        return (
            f'no box of {ann_file} is left to train on: of {total}, '
            + '; '.join(
                f'{len(places)} are {reason} (annotations '
                f'{some(faults.table.names(places))})'
                for reason, places in faults.left_out.items()
            )
            + '. Mend the file'
        )
    return None


def check_boxes(
    content: Mapping[str, Any], ann_file: str | os.PathLike, test_mode: bool = False
) -> None:
    """Whether the boxes of a set can be used.

    Args:
        content: COCO annotations, each field of the right type.
        ann_file: Its path, for the messages.
        test_mode: The file is evaluated on.

    Raises:
        UserError: The boxes are corners, or none would be trained on. Some
            that count for nothing are warned of.
    """
    faults = look_at_boxes(box_table(content))
    wrong = wrong_boxes(faults, ann_file, test_mode)
    if wrong:
        raise UserError(wrong)
    for reason, places in faults.left_out.items():
        print_log(
            f'{len(places)} boxes of {ann_file} are {reason} (annotations '
            f'{some(faults.table.names(places))}): left out in training, counted as '
            'missed objects in evaluation',
            'current',
            logging.WARNING,
        )
    if faults.of_other_sizes:
        print_log(
            f'{faults.beyond} of {faults.total} boxes of {ann_file} leave their '
            'image: are they of images of another size?',
            'current',
            logging.WARNING,
        )
