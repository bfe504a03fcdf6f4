"""Do a config's class names and an annotation file's categories agree?

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
from mmengine.fileio import load
from mmengine.logging import print_log

__all__ = ['category_names', 'check_class_names', 'check_dataset']


def check_class_names(classes: Sequence[str],
                      categories: Sequence[str],
                      ann_file: str | os.PathLike,
                      allow_subset: bool = False) -> None:
    """Compares class names with category names.

    Args:
        classes: ``metainfo['classes']`` of the data set.
        categories: Category names in the order of the annotation file.
        ann_file: Path of the annotation file, for the message.
        allow_subset: Accept categories that ``classes`` leaves out; their
            boxes then count as background.

    Raises:
        ValueError: The two disagree; the message holds both lists and the
            remedy.
    """
    if isinstance(classes, str):
        raise ValueError(
            f'classes is the string {classes!r}, not a tuple of names; a '
            f"single class needs a comma: classes = ({classes!r}, )")
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
        problems.append('the same names in another order (MMDetection '
                        'numbers them in the order of the file)')
    remedy = (f'Write classes = {tuple(dict.fromkeys(categories))!r} in the '
              'config or mend the file')
    if unused and not lacking:
        remedy += ('; to train on some of the categories only, set '
                   'allow_class_subset = True in the config')
    raise ValueError(
        f'the class names of the config and of {ann_file} disagree.\n'
        f'  config: {wanted}\n  file:   {list(categories)}\n  '
        + '\n  '.join(problems) + f'\n{remedy}.')


def category_names(content: Any, ann_file: str | os.PathLike) -> list[str]:
    """The category names of COCO annotations, in their order.

    Args:
        content: What the annotation file holds.
        ann_file: Its path, for the message.

    Raises:
        ValueError: It has no list of named categories.
    """
    try:
        return [category['name'] for category in content['categories']]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f'{ann_file} is no COCO annotation file: expected a dict with '
            '"categories", a list of dicts with "name"') from error


def check_dataset(cfg: Mapping[str, Any], allow_subset: bool = False) -> None:
    """Checks the class names of a data set before it is built.

    MMDetection's ``CocoDataset`` is looked for in any nesting of wrappers
    (repeated, concatenated, balanced ...); other data sets pass.

    Args:
        cfg: What the config says of the data set.
        allow_subset: As for ``check_class_names``.

    Raises:
        ValueError: As for ``check_class_names`` and ``category_names``.
    """
    for part in (*cfg.get('datasets', ()), cfg.get('dataset')):
        if isinstance(part, Mapping):
            check_dataset(part, allow_subset)
    kind = cfg['type']
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    # LVIS and Objects365 inherit from CocoDataset and number in their own way.
    if getattr(kind, 'load_data_list', None) is CocoDataset.load_data_list:
        # Built without reading anything, it resolves paths and defaults.
        dataset = DATASETS.build(dict(cfg, lazy_init=True))
        ann_file = dataset.ann_file
        content = load(ann_file, file_format='json',
                       backend_args=dataset.backend_args)
        check_class_names(dataset.metainfo['classes'],
                          category_names(content, ann_file), ann_file,
                          allow_subset)
        if dataset.test_mode and any(
                a['id'] == 0 for a in content.get('annotations', ())):
            print_log(
                f'{ann_file} has an annotation with id 0: pycocotools takes '
                '0 for "no match" and counts this box as missed; number '
                'annotations from 1', 'current', logging.WARNING)
