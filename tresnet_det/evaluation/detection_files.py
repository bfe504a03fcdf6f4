"""Reading detections: a list of dicts, as COCO's evaluation takes them."""

import math
import os
from collections import defaultdict
from typing import Any

from ..common.errors import UserError, some
from ..common.json_files import read_json

__all__ = ['read_detections']

_HOW = (
    'expected is what tools/test.py writes with --cfg-options '
    'test_evaluator.outfile_prefix=NAME: NAME.bbox.json'
)


def read_detections(file: str | os.PathLike) -> list[dict]:
    """Box detections of COCO's results format.

    Raises:
        UserError: The file cannot be read, or holds something else; the
            message names the first entries that do.
    """
    found = read_json(file, 'file of detections', f'Give its path; {_HOW}')
    if not isinstance(found, list):
        swapped = isinstance(found, dict) and 'annotations' in found
        raise UserError(
            f'{file} has no detections: it holds a {type(found).__name__}, not a '
            'list'
            + (', of annotations: are two arguments swapped?' * swapped)
            + f'; {_HOW}'
        )
    wrong = defaultdict(list)
    for place, detection in enumerate(found):
        fault = _what_is_wrong(detection)
        if fault:
            wrong[fault].append(f'number {place}')
    if wrong:
        raise UserError(
            f'{file} has '
            + '; '.join(
                f'{len(places)} detections {fault} ({some(places)})'
                for fault, places in wrong.items()
            )
            + f'; {_HOW}'
        )
    return found


def _what_is_wrong(detection: Any) -> str | None:
    if not isinstance(detection, dict):
        return 'that are no dicts'
    for key in ('image_id', 'category_id', 'bbox', 'score'):
        if key not in detection:
            return f'without "{key}"'
    for key in ('image_id', 'category_id'):
        if not isinstance(detection[key], (str, int, float)):
            return f'whose {key} is no number or string'
    if not _is_number(detection['score']):
        return 'whose score is no finite number'
    box = detection['bbox']
    if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
        return 'whose bbox is not [x, y, width, height] in finite numbers'
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
