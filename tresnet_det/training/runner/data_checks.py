"""Does a data set fit its config, before anything is built of it?

MMDetection's ``CocoDataset`` keeps the categories whose names the config
lists, in the order of the annotation file, and numbers them from 0. A name
that the file lacks therefore shifts every later label, and names in another
order give every box a wrong name, both without a word. This module tells.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.fileio import LocalBackend, get_file_backend

from ...common.errors import UserError
from ...data.annotation_checks import check_annotations
from ...data.annotation_files import how_to_mend, read_annotations
from ...data.box_checks import why_left_out
from ...data.image_checks import check_images_exist
from ...data.mask_checks import check_masks
from ...data.wrapped_datasets import innermost_datasets

__all__ = ['check_class_names', 'check_dataset', 'holds_coco']


def check_class_names(
    classes: Sequence[str],
    categories: Sequence[str],
    ann_file: str | os.PathLike,
    allow_subset: bool = False,
    boxes: Mapping[str, int] | None = None,
) -> None:
    """Compares class names with category names.

    Args:
        classes: ``metainfo['classes']`` of the data set.
        categories: Category names in the order of the annotation file.
        ann_file: Path of the annotation file, for the message.
        allow_subset: Accept categories that ``classes`` leaves out; their
            boxes then count as background.
        boxes: How many each category has, for the message.

    Raises:
        UserError: The two disagree; the message holds both lists and the
            remedy.
    """
    if isinstance(classes, str):
        raise UserError(
            f'classes is the string {classes!r}, not a tuple of names; a '
            f'single class needs a comma: classes = ({classes!r}, )'
        )
    wanted, found = list(classes), list(categories)
    lacking = [name for name in wanted if name not in found]
    unused = [name for name in found if name not in wanted]
    if allow_subset:
        found = [name for name in found if name in wanted]
        unused = []
    if wanted == found:
        return
    problems = []
    if lacking:
        problems.append(f'in the config but not in the file: {lacking}')
    if unused:
        problems.append(f'in the file but not in the config: {unused}')
        if boxes is not None:
            counts = ', '.join(f'{boxes.get(name, 0)} of {name!r}' for name in unused)
            problems.append(f'boxes of these: {counts}')
    for source, names in (('config', wanted), ('file', found)):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            problems.append(f'more than once in the {source}: {twice}')
    if not problems:
        problems.append(
            'the same names in another order (MMDetection '
            'numbers them in the order of the file)'
        )
    repeated = len(set(categories)) < len(categories)
    remedy = (
        'MMDetection tells categories by their names. If they are one: '
        f'{how_to_mend(ann_file)}; if not, rename one in the file'
        if repeated
        else f'Write classes = {tuple(dict.fromkeys(categories))!r} in the '
        'config or mend the file'
    )
    if unused and not lacking and not repeated:
        remedy += (
            '; to train on some of the categories only, set '
            'allow_class_subset = True in the config'
        )
    raise UserError(
        f'the class names of the config and of {ann_file} disagree.\n'
        f'  config: {wanted}\n  file:   {list(categories)}\n  '
        + '\n  '.join(problems)
        + f'\n{remedy}.'
    )


def check_dataset(
    cfg: Mapping[str, Any], allow_subset: bool = False, allow_missing: bool = False
) -> None:
    """Checks a data set's files and class names before it is built.

    MMDetection's ``CocoDataset`` is looked for in any nesting of wrappers
    (repeated, concatenated, balanced ...); other data sets pass.

    Args:
        cfg: What the config says of the data set.
        allow_subset: As for ``check_class_names``.
        allow_missing: Accept images that are not there, unless all are not.

    Raises:
        UserError: The annotation file cannot be read or has faults, class
            names disagree, or no image is left to train on.
    """
    for part in innermost_datasets(cfg):
        if isinstance(part, Mapping):
            _check_innermost(part, allow_subset, allow_missing)


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


def _check_innermost(
    cfg: Mapping[str, Any], allow_subset: bool, allow_missing: bool
) -> None:
    if not holds_coco(cfg):
        return
    # Built without reading anything, it resolves paths and defaults.
    dataset = DATASETS.build(dict(cfg, lazy_init=True))
    ann_file = dataset.ann_file
    content = read_annotations(ann_file, dataset.backend_args)
    check_annotations(content, ann_file, dataset.test_mode)
    classes = dataset.metainfo['classes']
    names = {category['id']: category['name'] for category in content['categories']}
    check_class_names(
        classes,
        list(names.values()),
        ann_file,
        allow_subset,
        Counter(names[a['category_id']] for a in content.get('annotations', ())),
    )
    masks = _loads_masks(cfg.get('pipeline'))
    if masks:
        check_masks(
            content,
            ann_file,
            classes,
            evaluated=False,
            as_polygons=not masks.get('poly2mask', True),
        )
    folder = dataset.data_prefix.get('img', '')
    if isinstance(
        get_file_backend(folder, backend_args=dataset.backend_args), LocalBackend
    ):
        check_images_exist(content, folder, ann_file, allow_missing)
    _check_something_left(content, dataset)


def _loads_masks(pipeline: Any) -> Mapping[str, Any] | None:
    """The step of a pipeline that loads masks, if any."""
    if isinstance(pipeline, Mapping):
        if pipeline.get('with_mask'):
            return pipeline
        pipeline = pipeline.values()
    elif not isinstance(pipeline, (list, tuple)):
        return None
    return next(filter(None, map(_loads_masks, pipeline)), None)


def _check_something_left(content: Mapping[str, Any], dataset: CocoDataset) -> None:
    """MMDetection's filter, which fails where it leaves nothing."""
    filters = {} if dataset.test_mode else dataset.filter_cfg or {}
    sizes = {i['id']: (i['width'], i['height']) for i in content['images']}
    wanted = {
        category['id']
        for category in content['categories']
        if category['name'] in dataset.metainfo['classes']
    }
    boxes = [a for a in content.get('annotations', ()) if a['category_id'] in wanted]
    used = {a['image_id'] for a in boxes}
    if not any(
        min(image['width'], image['height']) >= filters.get('min_size', 0)
        and (image['id'] in used or not filters.get('filter_empty_gt'))
        for image in content['images']
    ):
        purpose = 'evaluate' if dataset.test_mode else 'train'
        raise UserError(
            f'of the {len(content["images"])} images of {dataset.ann_file} no '
            f'image is left to {purpose} on: the filter is {dict(filters)}, '
            f'and {len(used)} images have annotations of the classes. Mend '
            "the file or set the data set's filter_cfg"
        )
    if boxes and not dataset.test_mode:
        reasons = {why_left_out(a, *sizes[a['image_id']]) for a in boxes}
        if None not in reasons:
            raise UserError(
                f'no box of the classes {list(dataset.metainfo["classes"])} in '
                f'{dataset.ann_file} is left to train on: all {len(boxes)} are '
                f'{" or ".join(sorted(filter(None, reasons)))}. Mend the file'
            )
