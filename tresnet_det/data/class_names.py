"""Do the class names of a config and an annotation file agree?

MMDetection's ``CocoDataset`` keeps the categories whose names the config
lists, in the order of the annotation file, and numbers them from 0. A name
that the file lacks therefore shifts every later label, and names in another
order give every box a wrong name, both without a word. This module tells.
"""

import os
from collections.abc import Mapping, Sequence

from ..common.errors import UserError
from .annotation_files import how_to_mend

__all__ = ['check_class_names']


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
        f'{how_to_mend(ann_file, "--merge-names")}; if not, rename one in the file'
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
