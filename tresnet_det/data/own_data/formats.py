"""Which format a source has, and its reader."""

import shlex
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...common.errors import UserError, some
from .coco import is_coco, read_coco
from .cvat import read_cvat
from .found import Found
from .label_studio import is_label_studio, read_label_studio
from .labelme import is_labelme, read_labelme
from .text_files import json_of
from .tree import Tree
from .voc import read_voc, xml_root
from .yolo import label_files, names_file, read_yolo

__all__ = ['FORMATS', 'read_source', 'recognised']

FORMATS: dict[str, Callable[..., Found]] = {
    'COCO': read_coco,
    'Label Studio': read_label_studio,
    'labelme': read_labelme,
    'Pascal VOC': read_voc,
    'CVAT for images': read_cvat,
    'YOLO': read_yolo,
}
_JSON = {'COCO': is_coco, 'Label Studio': is_label_studio, 'labelme': is_labelme}
_XML = {'annotation': 'Pascal VOC', 'annotations': 'CVAT for images'}


def recognised(tree: Tree) -> dict[str, list[Path]]:
    """Format -> its annotation files.

    Args:
        tree: Of the source.

    Raises:
        UserError: A file that should hold annotations cannot be read.
    """
    found = defaultdict(list)
    for file in tree.chosen(tree.with_suffix('.json')):
        content = json_of(file)[0]
        for name, fits in _JSON.items():
            if fits(content):
                found[name].append(file)
    for file in tree.chosen(tree.with_suffix('.xml')):
        name = _XML.get(xml_root(file).tag, '')
        if name:
            found[name].append(file)
    labels = tree.chosen(label_files(tree))
    if labels and (names_file(tree) or not found):
        found['YOLO'] = labels
    return dict(found)


def _pattern(files: list[Path], forms: dict[str, list[Path]], tree: Tree) -> str:
    """What takes these files and none of another format; '' if nothing does."""
    first = tree.relative(files[0])
    others = [f for other in forms.values() if other is not files for f in other]
    for pattern in (f'*{first.suffix}', f'{first.parent.name}/*{first.suffix}'):
        if len(tree.chosen(files, pattern)) == len(files):
            if not tree.chosen(others, pattern):
                return pattern
    return ''


def read_source(tree: Tree, **options: Any) -> Found:
    """Reads a source of one format.

    Args:
        tree: Of the source.
        options: Of ``read_coco``.

    Raises:
        UserError: It has no format, or several, or faults.
    """
    forms = recognised(tree)
    if not forms:
        others = sorted({f.suffix.lower() or f.name for f in tree.others})
        raise UserError(
            f'{tree.root} holds no annotations that are known: {len(tree.images)} '
            f'images, and {len(tree.others)} other files ({some(others) or "none"}). '
            f'Known are {", ".join(FORMATS)}. '
            + (
                f'--only {shlex.quote(tree.only)} takes no other file. '
                if tree.only
                else ''
            )
            + 'Is it a folder too high or too deep? Archives within must be unpacked'
        )
    if len(forms) > 1:
        raise UserError(
            f'{tree.root} holds annotations in {len(forms)} formats: '
            + '; '.join(
                f'{name} ({some(str(tree.relative(f)) for f in files[:2])})'
                for name, files in forms.items()
            )
            + '. Choose with --only: '
            + '; '.join(
                f'{name}: --only {shlex.quote(pattern)}'
                for name, files in forms.items()
                if (pattern := _pattern(files, forms, tree))
            )
        )
    ((name, files),) = forms.items()
    if not tree.images:
        raise UserError(
            f'{tree.root} holds {name} annotations ({tree.relative(files[0])}) and no '
            f'image. Name the folder of the images with --images{tree.unread}'
        )
    found = FORMATS[name](files, tree, **(options if name == 'COCO' else {}))
    if found.doubts:
        found.hint = '. If the images in other folders are meant, add --any-folder'
    found.hint += tree.unread
    return found
