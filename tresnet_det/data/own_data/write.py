"""Writes what was found as COCO files and folders of images."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...common.errors import UserError
from ..annotation_checks import check_annotations
from ..coco_sets import place_image, write_annotations
from ..mending import mend_annotations
from .found import Found, Picture

__all__ = ['Written', 'told_of', 'write_splits']

SPLITS = ('train', 'val', 'test')
_DIGITS = 3  # of pixels: what single precision and fractions leave


class Written(NamedTuple):
    """How many images a split has, and objects of each class."""

    images: int
    objects: Counter[str]


def write_splits(
    found: Found,
    folder: Path,
    how: Callable[[Path], str],
    info: dict,
    progress: Callable[[str, int], Callable[[], None]],
) -> dict[str, Written]:
    """Writes ``annotations/<split>.json`` and ``<split>/`` for each split.

    Args:
        found: Each picture with a split, its size, and boxes in pixels.
        folder: To write into.
        how: To place an image, see ``place_image``.
        info: To be known again by.
        progress: See ``make_own_data``.

    Returns:
        Name of each split -> what is in it.

    Raises:
        UserError: A split holds no object, or the annotations have a fault.
    """
    step = progress('placing the images', len(found.pictures))
    splits = {}
    for split in SPLITS:
        pictures = [p for p in found.pictures if p.split == split]
        if not pictures:
            continue
        names = _names(pictures)
        pictures.sort(key=names.__getitem__)
        content = _content(pictures, names, found.classes)
        # Boxes beyond their image, from whatever format.
        found.count(mend_annotations(content, file=f'{split}.json'))
        if not content['annotations'] and split != 'test':
            raise UserError(
                f'the split {split} has {len(pictures)} images and no object. Add '
                '--resplit (another --seed, where splits are drawn), or annotate some'
            )
        check_annotations(content, f'{split}.json', test_mode=True)
        write_annotations(folder / 'annotations' / f'{split}.json', content, info)
        for picture in pictures:
            target = folder / split / names[picture]
            place_image(picture.file, target, how(picture.file))
            step()
        names_of = {c['id']: c['name'] for c in content['categories']}
        objects = Counter(names_of[a['category_id']] for a in content['annotations'])
        splits[split] = Written(len(pictures), objects)
    return splits


def _names(pictures: list[Picture]) -> dict[Picture, str]:
    """The images' own names; with folders where two would be the same."""
    files = [picture.file for picture in pictures]
    if len({file.name.lower() for file in files}) == len(files):
        return {picture: picture.file.name for picture in pictures}
    common = os.path.commonpath([file.parent for file in files])
    return {
        picture: picture.file.relative_to(common).as_posix() for picture in pictures
    }


def _content(
    pictures: list[Picture], names: dict[Picture, str], classes: list[str]
) -> dict[str, Any]:
    ids = {name: number for number, name in enumerate(classes, 1)}
    images: list[dict] = []
    annotations: list[dict] = []
    for image_id, picture in enumerate(pictures, 1):
        assert picture.size is not None
        width, height = picture.size
        images.append(
            dict(id=image_id, file_name=names[picture], width=width, height=height)
        )
        for box in picture.boxes:
            bbox = [round(value, _DIGITS) for value in box.bbox]
            annotations.append(
                dict(
                    dict(area=round(bbox[2] * bbox[3], _DIGITS), iscrowd=0),
                    **box.fields,
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=ids[box.label],
                    bbox=bbox,
                )
            )
    categories = [dict(id=number, name=name) for name, number in ids.items()]
    return dict(images=images, annotations=annotations, categories=categories)


def told_of(found: Found, how_split: str, splits: Mapping[str, Written]) -> list[str]:
    """What a person should know of the result, line by line."""
    lines = [f'read: {found.form}; splits: {how_split}']
    for split, (images, objects) in splits.items():
        lines.append(f'{split}: {images} images, {objects.total()} objects')
    lines.append('classes (objects in train, val):')
    for name in found.classes:
        counts = splits['train'].objects[name], splits['val'].objects[name]
        lines.append(
            f'  {name}: {counts[0]}, {counts[1]}'
            + (' - none to learn from' if not counts[0] else '')
            + (' - none to evaluate on' if not counts[1] else '')
        )
    changes = [f'  {count} {what}' for what, count in found.changes.items() if count]
    if changes:
        lines += ['changed or left out:', *changes]
    if found.leaks:
        lines += [
            '',
            *found.leaks,
            'The figures would be too good. --resplit draws splits that keep such '
            'images together; --alike does not look.',
        ]
    return lines
