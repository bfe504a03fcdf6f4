"""Does a data set fit its config, before anything is built of it?

MMDetection's ``CocoDataset`` keeps the categories whose names the config
lists, in the order of the annotation file, and numbers them from 0. A name
that the file lacks therefore shifts every later label, and names in another
order give every box a wrong name, both without a word. This module tells.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.logging import print_log

from ...common.errors import UserError
from ...data.annotation_checks import (
    check_annotations,
    check_images_exist,
    read_annotations,
)
from ...data.wrapped_datasets import innermost_datasets

__all__ = ['check_class_names', 'check_dataset', 'check_evaluator']


def check_class_names(
    classes: Sequence[str],
    categories: Sequence[str],
    ann_file: str | os.PathLike,
    allow_subset: bool = False,
) -> None:
    """Compares class names with category names.

    Args:
        classes: ``metainfo['classes']`` of the data set.
        categories: Category names in the order of the annotation file.
        ann_file: Path of the annotation file, for the message.
        allow_subset: Accept categories that ``classes`` leaves out; their
            boxes then count as background.

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
    for source, names in (('config', wanted), ('file', found)):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            problems.append(f'more than once in the {source}: {twice}')
    if not problems:
        problems.append(
            'the same names in another order (MMDetection '
            'numbers them in the order of the file)'
        )
    remedy = (
        f'Write classes = {tuple(dict.fromkeys(categories))!r} in the '
        'config or mend the file'
    )
    if unused and not lacking:
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


def _check_innermost(
    cfg: Mapping[str, Any], allow_subset: bool, allow_missing: bool
) -> None:
    kind = cfg['type']
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    # Others inherit from it and number (LVIS, Objects365) or read annotations
    # (panoptic ones) in their own way.
    if any(
        getattr(kind, method, None) is not getattr(CocoDataset, method)
        for method in ('load_data_list', 'parse_data_info')
    ):
        return
    # Built without reading anything, it resolves paths and defaults.
    dataset = DATASETS.build(dict(cfg, lazy_init=True))
    ann_file = dataset.ann_file
    content = read_annotations(ann_file, dataset.backend_args)
    check_annotations(content, ann_file, dataset.test_mode)
    check_class_names(
        dataset.metainfo['classes'],
        [category['name'] for category in content['categories']],
        ann_file,
        allow_subset,
    )
    folder = dataset.data_prefix.get('img', '')
    if isinstance(
        get_file_backend(folder, backend_args=dataset.backend_args), LocalBackend
    ):
        check_images_exist(content, folder, ann_file, allow_missing)
    _check_something_left(content, dataset)
    if dataset.test_mode and any(a['id'] == 0 for a in content.get('annotations', ())):
        print_log(
            f'{ann_file} has an annotation with id 0: pycocotools takes 0 for '
            '"no match" and counts this box as missed; number annotations '
            'from 1',
            'current',
            logging.WARNING,
        )


def check_evaluator(evaluator: Any, dataloader: Any) -> None:
    """Checks that COCO figures are computed on the data set's own images.

    MMDetection finds out after the last image.

    Args:
        evaluator: One metric of the config or a list of them.
        dataloader: What the config says of its data.

    Raises:
        UserError: The evaluator's annotation file cannot be read, or is of
            other images.
    """
    dataset = dataloader['dataset'] if isinstance(dataloader, Mapping) else dataloader
    if not (isinstance(dataset, Mapping) and 'ann_file' in dataset):
        return
    own = DATASETS.build(dict(dataset, lazy_init=True)).ann_file
    for metric in evaluator if isinstance(evaluator, list) else [evaluator]:
        file = metric.get('ann_file') if isinstance(metric, Mapping) else None
        if not file or os.path.abspath(file) == os.path.abspath(own):
            continue
        found, expected = (
            {
                image['id']
                for image in read_annotations(path, metric.get('backend_args')).get(
                    'images', ()
                )
            }
            for path in (file, own)
        )
        if not expected <= found:
            raise UserError(
                f"the evaluator's ann_file {file} lacks "
                f'{len(expected - found)} of the {len(expected)} images of '
                f"the data set's, {own}: name the same file in both"
            )


def _check_something_left(content: Mapping[str, Any], dataset: CocoDataset) -> None:
    """MMDetection's filter, which fails where it leaves nothing."""
    filters = {} if dataset.test_mode else dataset.filter_cfg or {}
    wanted = {
        category['id']
        for category in content['categories']
        if category['name'] in dataset.metainfo['classes']
    }
    used = {
        a['image_id']
        for a in content.get('annotations', ())
        if a['category_id'] in wanted
    }
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
