"""MMDetection's ``CocoDataset`` in configs, and what it leaves to use."""

import os
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from ..common.errors import UserError
from .box_checks import why_left_out

__all__ = ['check_something_left', 'holds_coco', 'loads_masks', 'usable_images']


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
    content: Mapping[str, Any], classes: Collection[str], filters: Mapping[str, Any]
) -> tuple[list[Mapping[str, Any]], dict[str, int]]:
    """MMDetection's filter of images.

    Args:
        content: Whole COCO annotations.
        classes: Names of the categories that count.
        filters: The data set's ``filter_cfg``.

    Returns:
        The images that are left, and how many are not, by reason.
    """
    wanted = {c['id'] for c in content['categories'] if c['name'] in classes}
    used = {
        a['image_id']
        for a in content.get('annotations', ())
        if a['category_id'] in wanted
    }
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


def check_something_left(
    content: Mapping[str, Any],
    ann_file: str | os.PathLike,
    classes: Collection[str],
    filters: Mapping[str, Any],
    test_mode: bool,
) -> None:
    """MMDetection's filter, which fails where it leaves nothing.

    Args:
        content: Whole COCO annotations.
        ann_file: Their path, for the message.
        classes: Names of the categories that count.
        filters: The data set's ``filter_cfg``.
        test_mode: The set is evaluated on: nothing is filtered.

    Raises:
        UserError: No image, or no box to train on, is left.
    """
    sizes = {i['id']: (i['width'], i['height']) for i in content['images']}
    wanted = {c['id'] for c in content['categories'] if c['name'] in classes}
    boxes = [a for a in content.get('annotations', ()) if a['category_id'] in wanted]
    filters = {} if test_mode else dict(filters)
    if not usable_images(content, classes, filters)[0]:
        used = {a['image_id'] for a in boxes}
        purpose = 'evaluate' if test_mode else 'train'
        raise UserError(
            f'of the {len(content["images"])} images of {ann_file} no '
            f'image is left to {purpose} on: the filter is {filters}, '
            f'and {len(used)} images have annotations of the classes. Mend '
            "the file or set the data set's filter_cfg"
        )
    if boxes and not test_mode:
        reasons = {why_left_out(a, *sizes[a['image_id']]) for a in boxes}
        if None not in reasons:
            raise UserError(
                f'no box of the classes {list(classes)} in '
                f'{ann_file} is left to train on: all {len(boxes)} are '
                f'{" or ".join(sorted(filter(None, reasons)))}. Mend the file'
            )
