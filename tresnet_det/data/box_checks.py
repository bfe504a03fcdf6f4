"""Boxes that count for nothing, and boxes that are written as corners.

MMDetection leaves boxes out of training without a word, and COCO's evaluation
counts most of those as objects to find.
"""

import logging
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmengine.logging import print_log

from ..common.errors import UserError, some
from .annotation_files import how_to_mend

__all__ = [
    'BoxFaults',
    'check_boxes',
    'leaves_image',
    'look_at_boxes',
    'why_left_out',
    'wrong_boxes',
]


def why_left_out(
    annotation: Mapping[str, Any], width: float, height: float
) -> str | None:
    """Why MMDetection leaves an annotation out of training, if it does.

    Args:
        annotation: With 'bbox' and 'area'.
        width: Of its image, in pixels.
        height: Likewise.
    """
    x, y, w, h = annotation['bbox']
    if annotation.get('ignore'):
        return 'marked by "ignore"'
    if w < 1 or h < 1:
        return 'smaller than a pixel'
    if annotation['area'] <= 0:
        return 'of area 0'
    if not (x < width and y < height and x + w > 0 and y + h > 0):
        return 'outside their image'
    return None


def leaves_image(box: Sequence[float], width: float, height: float) -> bool:
    """Whether a box reaches beyond its image by more than a pixel, on any side.

    Args:
        box: [x, y, width, height].
        width: Of the image, in pixels.
        height: Likewise.
    """
    x, y, w, h = box
    return x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1


class BoxFaults(NamedTuple):
    """What all boxes of a set say together.

    Attributes:
        total: How many there are.
        left_out: Reason -> ids of annotations that training leaves out.
        corners: How many fit as corners.
        beyond: Ids of those that leave their image on the right or below.
        fractions: How many are between 0 and 1.
    """

    total: int
    left_out: dict[str, list[str]]
    corners: int
    beyond: list[str]
    fractions: int

    @property
    def are_corners(self) -> bool:
        # As boxes most leave their images, as corners hardly one does. (A wrong
        # size of an image makes some leave too.)
        return bool(
            self.total
            and 5 * len(self.beyond) >= 3 * self.total
            and 20 * self.corners >= 19 * self.total
        )

    @property
    def are_fractions(self) -> bool:
        return bool(self.total) and self.fractions == self.total

    @property
    def of_other_sizes(self) -> bool:
        """Most leave their image."""
        return 2 * len(self.beyond) > self.total


def look_at_boxes(content: Mapping[str, Any]) -> BoxFaults:
    """Looks at all boxes of a set together.

    Args:
        content: COCO annotations, each field of the right type.
    """
    sizes = {i['id']: (i['width'], i['height']) for i in content['images']}
    annotations = content.get('annotations') or []
    left_out = defaultdict(list)
    beyond = []
    corners = fractions = 0
    for annotation in annotations:
        x, y, w, h = annotation['bbox']
        width, height = sizes[annotation['image_id']]
        reason = why_left_out(annotation, width, height)
        if reason:
            left_out[reason].append(str(annotation['id']))
        corners += 0 <= x < w <= width + 1 and 0 <= y < h <= height + 1
        fractions += 0 <= x <= 1 and 0 <= y <= 1 and 0 < w <= 1 and 0 < h <= 1
        if x + w > width + 1 or y + h > height + 1:
            beyond.append(str(annotation['id']))
    return BoxFaults(len(annotations), dict(left_out), corners, beyond, fractions)


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
            f'{len(faults.beyond)} of {total} leave their image as [x, y, width, '
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
                f'{len(ids)} are {reason} (annotations {some(ids)})'
                for reason, ids in faults.left_out.items()
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
    faults = look_at_boxes(content)
    wrong = wrong_boxes(faults, ann_file, test_mode)
    if wrong:
        raise UserError(wrong)
    for reason, ids in faults.left_out.items():
        print_log(
            f'{len(ids)} boxes of {ann_file} are {reason} (annotations '
            f'{some(ids)}): left out in training, counted as missed objects in '
            'evaluation',
            'current',
            logging.WARNING,
        )
    if faults.of_other_sizes:
        print_log(
            f'{len(faults.beyond)} of {faults.total} boxes of {ann_file} leave their '
            'image: are they of images of another size?',
            'current',
            logging.WARNING,
        )
