"""MMDetection's ``CocoDataset`` in configs, and what it leaves to use."""

import os
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from ..common.errors import UserError
from .box_table import LEFT_OUT, BoxTable

__all__ = [
    'are_of',
    'check_something_left',
    'holds_coco',
    'loads_masks',
    'usable_images',
    'with_boxes',
]


def holds_coco(cfg: Mapping[str, Any]) -> bool:
    """Whether a data set reads COCO annotations as ``CocoDataset`` does.

    Others inherit from it and number (LVIS, Objects365) or read annotations
    (panoptic ones) in their own way.
    """
    kind = cfg['type']
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    return all(
        getattr(kind, method, None) is getattr(CocoDataset, method)
        for method in ('load_data_list', 'parse_data_info')
    )


def loads_masks(pipeline: Any) -> Mapping[str, Any] | None:
    """The step of a pipeline that loads masks, if any."""
    if isinstance(pipeline, Mapping):
        if pipeline.get('with_mask'):
            return pipeline
        pipeline = pipeline.values()
    elif not isinstance(pipeline, (list, tuple)):
        return None
    return next(filter(None, map(loads_masks, pipeline)), None)


def usable_images(
    content: Mapping[str, Any],
    table: BoxTable,
    classes: Collection[str],
    filters: Mapping[str, Any],
) -> tuple[list[Mapping[str, Any]], dict[str, int]]:
    """MMDetection's filter of images.

    Args:
        content: Whole COCO annotations.
        table: Of their boxes.
        classes: Names of the categories that count.
        filters: The data set's ``filter_cfg``.

    Returns:
        The images that are left, and how many are not, by reason.
    """
    used = with_boxes(content, table, are_of(content, table, classes))
    least = filters.get('min_size', 0)
    left, reasons = [], Counter[str]()
    for image in content['images']:
        if min(image['width'], image['height']) < least:
            reasons[f'smaller than min_size = {least} pixels'] += 1
        elif image['id'] not in used and filters.get('filter_empty_gt'):
            reasons['without a box of the classes (filter_empty_gt)'] += 1
        else:
            left.append(image)
    return left, dict(reasons)


def are_of(
    content: Mapping[str, Any], table: BoxTable, classes: Collection[str]
) -> np.ndarray:
    """(N,) whether each box is of one of the classes."""
    wanted = [category['name'] in classes for category in content['categories']]
    return np.array(wanted, bool)[table.labels]


def with_boxes(
    content: Mapping[str, Any], table: BoxTable, which: np.ndarray | slice = slice(None)
) -> set:
    """Ids of the images that have a box.

    Args:
        content: Whole COCO annotations.
        table: Of their boxes.
        which: (N,) of the boxes that count.
    """
    places = np.unique(table.images[which]).tolist()
    return {content['images'][place]['id'] for place in places}


def check_something_left(
    content: Mapping[str, Any],
    table: BoxTable,
    ann_file: str | os.PathLike,
    classes: Collection[str],
    filters: Mapping[str, Any],
    test_mode: bool,
) -> None:
    """MMDetection's filter, which fails where it leaves nothing.

    Args:
        content: Whole COCO annotations.
        table: Of their boxes.
        ann_file: Their path, for the message.
        classes: Names of the categories that count.
        filters: The data set's ``filter_cfg``.
        test_mode: The set is evaluated on: nothing is filtered.

    Raises:
        UserError: No image, or no box to train on, is left.
    """
    wanted = are_of(content, table, classes)
    filters = {} if test_mode else dict(filters)
    if not usable_images(content, table, classes, filters)[0]:
        purpose = 'evaluate' if test_mode else 'train'
        raise UserError(
            f'of the {len(content["images"])} images of {ann_file} no '
            f'image is left to {purpose} on: the filter is {filters}, and '
            f'{len(with_boxes(content, table, wanted))} images have annotations of '
            "the classes. Mend the file or set the data set's filter_cfg"
        )
    reasons = {*table.reasons()[wanted].tolist()}
    if reasons and not test_mode and -1 not in reasons:
        raise UserError(
            f'no box of the classes {list(classes)} in '
            f'{ann_file} is left to train on: all {wanted.sum()} are '
            f'{" or ".join(sorted(LEFT_OUT[k] for k in reasons))}. Mend the file'
        )
