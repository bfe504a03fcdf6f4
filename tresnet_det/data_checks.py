"""Do a config's class names and an annotation file's categories agree?

MMDetection's ``CocoDataset`` keeps the categories whose names the config
lists, in the order of the annotation file, and numbers them from 0. A name
that the file lacks therefore shifts every later label, and names in another
order give every box a wrong name, both without a word. This module tells.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from mmdet.datasets import CocoDataset
from mmengine.fileio import load

__all__ = ['check_class_names', 'coco_datasets', 'read_category_names']


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
        remedy += ('; to train on some of the categories only, give the hook '
                   'CheckClassNamesHook allow_subset=True')
    raise ValueError(
        f'the class names of the config and of {ann_file} disagree.\n'
        f'  config: {wanted}\n  file:   {list(categories)}\n  '
        + '\n  '.join(problems) + f'\n{remedy}.')


def read_category_names(ann_file: str | os.PathLike,
                        backend_args: dict | None = None) -> list[str]:
    """Reads the category names of a COCO annotation file, in its order.

    Args:
        ann_file: Path or address of the JSON file.
        backend_args: Where the file lies, as in mmengine.

    Raises:
        ValueError: The file has no list of named categories.
    """
    content = load(ann_file, file_format='json', backend_args=backend_args)
    try:
        return [category['name'] for category in content['categories']]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f'{ann_file} is no COCO annotation file: expected a dict with '
            '"categories", a list of dicts with "name"') from error


def coco_datasets(dataset: Any) -> Iterator[CocoDataset]:
    """Yields the data sets that number their labels as ``CocoDataset`` does,
    out of any nesting of wrappers (repeated, concatenated, balanced ...).

    Args:
        dataset: A built data set.
    """
    # LVIS and Objects365 inherit from CocoDataset and number in their own way.
    if getattr(type(dataset), 'load_data_list',
               None) is CocoDataset.load_data_list:
        yield dataset
    for part in (*getattr(dataset, 'datasets', ()),
                 getattr(dataset, 'dataset', None)):
        if part is not None:
            yield from coco_datasets(part)
