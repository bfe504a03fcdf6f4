"""Mends annotation files where there is one way to do it."""

import os
from collections import Counter, defaultdict
from typing import Any

from ..common.errors import UserError
from .annotation_checks import FIELDS, text_of, unquoted
from .image_checks import FolderOfImages, leaves_folder

__all__ = ['mend_annotations']


def mend_annotations(
    content: Any, images: str | os.PathLike | None = None, corners: bool = False
) -> list[str]:
    """Mends what annotation tools are known to write wrong.

    Numbers in quotes become numbers; annotations get the area and iscrowd
    that they lack; ids of images and categories that differ in the type alone
    are matched; annotations are numbered from 1 where their ids are missing,
    used twice or no positive whole numbers; categories of one name become
    one.

    Args:
        content: What the file holds; changed.
        images: Folder of the images: file names become those that are there.
        corners: The boxes are [x1, y1, x2, y2].

    Returns:
        What was done, in words.

    Raises:
        UserError: It is no dict of lists of dicts.
    """
    if not isinstance(content, dict) or not all(
        isinstance(content.get(part), list)
        and all(isinstance(entry, dict) for entry in content[part])
        for part in FIELDS
    ):
        raise UserError(
            f'this is no COCO annotation file: expected are {", ".join(FIELDS)}, '
            'each a list of dicts'
        )
    done = {
        'numbers were in quotes': _unquote(content),
        'boxes were corners': _from_corners(content) if corners else 0,
        'annotations lacked area or iscrowd': _complete(content),
        'ids had another type than what they refer to': _match_types(content),
        'annotations were numbered anew': _number(content),
        'categories had the name of another': _merge_categories(content),
        'file names were changed': _rename(content, images) if images else 0,
    }
    return [f'{count} {what}' for what, count in done.items() if count]


def _unquote(content: dict) -> int:
    count = 0
    for part, fields in FIELDS.items():
        for field, (is_right, _) in fields.items():
            if field.endswith('id') or field in ('name', 'file_name'):
                continue
            for entry in content[part]:
                if field in entry and not is_right(entry[field]):
                    value = unquoted(entry[field])
                    if is_right(value):
                        entry[field] = value
                        count += 1
    return count


def _boxes(content: dict) -> list[dict]:
    is_box = FIELDS['annotations']['bbox'][0]
    return [a for a in content['annotations'] if is_box(a.get('bbox'))]


def _from_corners(content: dict) -> int:
    boxes = _boxes(content)
    for annotation in boxes:
        x1, y1, x2, y2 = annotation['bbox']
        annotation.update(bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1))
    return len(boxes)


def _complete(content: dict) -> int:
    count = 0
    for annotation in _boxes(content):
        count += not {'area', 'iscrowd'} <= {*annotation}
        _, _, width, height = annotation['bbox']
        annotation.setdefault('area', width * height)
        annotation.setdefault('iscrowd', 0)
    return count


def _match_types(content: dict) -> int:
    count = 0
    for key, part in (('image_id', 'images'), ('category_id', 'categories')):
        known = {entry.get('id') for entry in content[part]}
        by_text = {text_of(value): value for value in known}
        for annotation in content['annotations']:
            value = annotation.get(key)
            if value not in known and text_of(value) in by_text:
                annotation[key] = by_text[text_of(value)]
                count += 1
    return count


def _number(content: dict) -> int:
    annotations = content['annotations']
    ids = [annotation.get('id') for annotation in annotations]
    if all(type(i) is int and 0 < i < 2**53 for i in ids) and len({*ids}) == len(ids):
        return 0
    for number, annotation in enumerate(annotations, 1):
        annotation['id'] = number
    return len(annotations)


def _merge_categories(content: dict) -> int:
    used = Counter(a.get('category_id') for a in content['annotations'])
    by_name = defaultdict(list)
    for category in content['categories']:
        by_name[category.get('name')].append(category)
    kept, into = set(), {}
    for same in by_name.values():
        first = max(same, key=lambda c: bool(used[c.get('id')]))  # the first used
        kept.add(id(first))
        into.update({c.get('id'): first.get('id') for c in same if c is not first})
    for annotation in content['annotations']:
        key = annotation.get('category_id')
        annotation['category_id'] = into.get(key, key)
    content['categories'] = [c for c in content['categories'] if id(c) in kept]
    return len(by_name) and sum(map(len, by_name.values())) - len(kept)


def _rename(content: dict, images: str | os.PathLike) -> int:
    there, count = FolderOfImages(images), 0
    for image in content['images']:
        name = image.get('file_name')
        if isinstance(name, str) and (name not in there or leaves_folder(name)):
            found = there.find(name)
            if found:
                image['file_name'] = found[0]
                count += 1
    return count
