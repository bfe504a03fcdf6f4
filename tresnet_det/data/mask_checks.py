"""Masks that cannot be learned or evaluated.

MMDetection fails at one without a mask in the middle of an epoch; pycocotools
reads four numbers as a box, and masks of another size as nothing.
"""

import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .annotation_checks import Fault, refuse
from .box_table import box_table

__all__ = ['REMEDY', 'check_masks', 'mask_faults']

REMEDY = (
    'Mend the file, or use boxes alone: a config without masks '
    "(faster_rcnn for mask_rcnn) and metric='bbox'"
)


def check_masks(
    content: Mapping[str, Any],
    ann_file: str | os.PathLike,
    classes: Collection[str] | None = None,
    evaluated: bool = False,
    as_polygons: bool = False,
) -> None:
    """Refuses a set with faults, see ``mask_faults``.

    Args:
        content: Whole COCO annotations.
        ann_file: Its path, for the message.
        classes: As for ``mask_faults``, likewise the others.
        evaluated: Likewise.
        as_polygons: Likewise.

    Raises:
        UserError: The message counts each kind of fault and names entries.
    """
    refuse(ann_file, mask_faults(content, classes, evaluated, as_polygons), REMEDY)


def mask_faults(
    content: Mapping[str, Any],
    classes: Collection[str] | None = None,
    evaluated: bool = False,
    as_polygons: bool = False,
) -> Iterator[Fault]:
    """Looks at the masks of all annotations of the classes.

    Args:
        content: Whole COCO annotations.
        classes: Names of the categories that count; None for all.
        evaluated: pycocotools reads them too, which is stricter.
        as_polygons: The pipeline has ``poly2mask=False`` and drops others.
    """
    sizes = {i['id']: (i['width'], i['height']) for i in content['images']}
    wanted = {
        c['id']
        for c in content['categories']
        if classes is None or c['name'] in classes
    }
    annotations = content.get('annotations') or []
    used: Iterable[int] = range(len(annotations))
    if not evaluated:
        used = np.flatnonzero(box_table(content).reasons() < 0).tolist()
    return (
        Fault(f'masks that {wrong}', annotation['id'])
        for annotation in (annotations[place] for place in used)
        if annotation['category_id'] in wanted
        and (
            wrong := _what_is_wrong(
                annotation.get('segmentation'),
                sizes[annotation['image_id']][::-1],
                evaluated,
                as_polygons and not annotation.get('iscrowd'),
            )
        )
    )


def _what_is_wrong(
    mask: Any, size: tuple[int, int], evaluated: bool, as_polygons: bool
) -> str | None:
    if not mask:
        return 'are missing or empty'
    if isinstance(mask, Mapping):
        if as_polygons:
            return 'are no polygons, which poly2mask=False of LoadAnnotations drops'
        return _wrong_run_lengths(mask, size)
    if not isinstance(mask, list):
        return 'are neither polygons nor run lengths'
    if not all(isinstance(polygon, list) for polygon in mask):
        return 'are one list of numbers, expected a list of such lists'
    if not all(_are_numbers(polygon) for polygon in mask):
        return 'have something else than finite numbers'
    whole = [len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in mask]
    if not any(whole):
        return 'have no polygon of at least three points (six numbers)'
    # pycocotools decides by the first, and takes four numbers for a box.
    if evaluated and not whole[0]:
        return 'begin with a polygon of less than three points (six numbers)'
    return None


def _are_numbers(values: list) -> bool:
    return all(type(v) is int or type(v) is float for v in values) and math.isfinite(
        sum(values)
    )


def _wrong_run_lengths(mask: Mapping[str, Any], size: tuple[int, int]) -> str | None:
    counts = mask.get('counts')
    if not isinstance(counts, (list, str)) or 'size' not in mask:
        return 'are run lengths without "counts" or "size"'
    try:
        same = tuple(mask['size']) == tuple(size)
    except TypeError:
        same = False
    if not same:
        return 'are run lengths of another size than [height, width] of the image'
    lengths = _decoded(counts) if isinstance(counts, str) else counts
    if not all(type(n) is int and n >= 0 for n in lengths) or sum(lengths) != math.prod(
        size
    ):
        return 'are damaged run lengths, which do not fill the image'
    return None


def _decoded(text: str) -> list[int]:
    """COCO's compressed run lengths, as maskApi.c reads them: five bits a
    character, and from the fourth on the difference to the last but one."""
    lengths: list[int] = []
    value = shift = 0
    for character in text.encode('ascii', 'replace'):
        digit = character - 48
        value |= (digit & 0x1F) << shift
        shift += 5
        if digit & 0x20:
            continue
        if digit & 0x10:
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    return [-1] if shift else lengths  # ends in the middle of a number
