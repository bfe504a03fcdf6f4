"""Boxes that count for nothing, and boxes that are written as corners.

MMDetection leaves boxes out of training without a word, and COCO's evaluation
counts most of those as objects to find.
"""

import logging
import os
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log

from ..common.errors import UserError, some
from .annotation_files import how_to_mend

__all__ = ['check_boxes', 'why_left_out']


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


def check_boxes(
    content: Mapping[str, Any], ann_file: str | os.PathLike, test_mode: bool = False
) -> None:
    """Looks at all boxes of a set together.

    Args:
        content: COCO annotations, each field of the right type.
        ann_file: Its path, for the messages.
        test_mode: The file is evaluated on.

    Raises:
        UserError: The boxes are corners, or none would be trained on. Some
            that count for nothing are warned of.
    """
    sizes = {i['id']: (i['width'], i['height']) for i in content['images']}
    annotations = content.get('annotations') or []
    left_out = defaultdict(list)
    corners = beyond = fractions = 0
    for annotation in annotations:
        x, y, w, h = annotation['bbox']
        width, height = sizes[annotation['image_id']]
        reason = why_left_out(annotation, width, height)
        if reason:
            left_out[reason].append(str(annotation['id']))
        corners += 0 <= x < w <= width + 1 and 0 <= y < h <= height + 1
        beyond += x + w > width + 1 or y + h > height + 1
        fractions += 0 <= x <= 1 and 0 <= y <= 1 and 0 < w <= 1 and 0 < h <= 1
    total = len(annotations)
    # As boxes most leave their images, as corners hardly one does. (A wrong
    # size of an image makes some leave too.)
    if total and 5 * beyond >= 3 * total and 20 * corners >= 19 * total:
        raise UserError(
            f'{ann_file}: the boxes look like corners [x1, y1, x2, y2]: '
            f'{beyond} of {total} leave their image as [x, y, width, height], '
            f'which COCO has, and {corners} fit as corners. If they are right as '
            'they are, cut them off at the border of the image. '
            + how_to_mend(ann_file, '--corners')
        )
    if total and fractions == total:
        raise UserError(
            f'{ann_file}: the boxes are fractions of the image, all {total} '
            'between 0 and 1; COCO has pixels. Multiply x and width by the '
            "image's width, y and height by its height"
        )
    if not test_mode and total and sum(map(len, left_out.values())) == total:
        raise UserError(
            f'no box of {ann_file} is left to train on: of {total}, '
            + '; '.join(
                f'{len(ids)} are {reason} (annotations {some(ids)})'
                for reason, ids in left_out.items()
            )
            + '. Mend the file'
        )
    for reason, ids in left_out.items():
        print_log(
            f'{len(ids)} boxes of {ann_file} are {reason} (annotations '
            f'{some(ids)}): left out in training, counted as missed objects in '
            'evaluation',
            'current',
            logging.WARNING,
        )
    if 2 * beyond > total:
        print_log(
            f'{beyond} of {total} boxes of {ann_file} leave their image: are '
            'they of images of another size?',
            'current',
            logging.WARNING,
        )
