"""COCO's format: one JSON file a split, as Roboflow, CVAT and others write it."""

import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...common.errors import UserError, some
from ..annotation_checks import check_annotations
from ..fields import FIELDS
from ..mending import Choices, mend_annotations
from .found import Box, Found
from .matching import Entry, Name, place
from .text_files import json_of
from .tree import Tree

__all__ = ['is_coco', 'read_coco']


def is_coco(content: Any) -> bool:
    """Whether what a JSON file holds is COCO annotations."""
    return isinstance(content, Mapping) and {*FIELDS} <= {*content}


def read_coco(files: list[Path], tree: Tree, merge_names: bool = False) -> Found:
    """Reads one annotation file for each split.

    What needs no guess is mended (``mend_annotations``), and counted.

    Args:
        files: The annotation files.
        tree: Of the source.
        merge_names: Categories of one name are one.

    Raises:
        UserError: Two files are of one split, two categories have one name, or
            a file has faults that need a person.
    """
    found = Found('COCO')
    splits = _splits(files, tree)
    contents = {}
    for file in files:
        contents[file], encoding = json_of(file)
        if encoding != 'utf-8':
            found.changes[f'annotation files in {encoding.upper()} were read'] += 1
    _drop_parents(contents, found.changes)
    entries: list[Entry] = []
    for file, content in contents.items():
        _strip_names(content, found.changes)
        _same_names(file, content, merge_names)
        found.count(_mended(content, file, merge_names))
        check_annotations(content, file, test_mode=True)
        entries += _entries(content, file, splits[file], found)
    place(entries, tree, found)
    found.count_unused(tree.images, 'are in no annotation file')
    return found


def _splits(files: list[Path], tree: Tree) -> dict[Path, str]:
    splits = {file: tree.split_of(file) for file in files}
    by_split = defaultdict(list)
    for file, split in splits.items():
        by_split[split].append(str(tree.relative(file)))
    for names in by_split.values():
        if len(names) > 1 or ('' in by_split and len(by_split) > 1):
            raise UserError(
                f'{len(files)} COCO files, and their names do not tell one file for '
                f'each split: {some(str(tree.relative(f)) for f in files)}. Choose '
                f'one with --only, as in --only {shlex.quote(files[0].name)}, or call '
                'them train.json, val.json and test.json in a copy of the source'
            )
    return splits


def _drop_parents(contents: Mapping[Path, Any], changes: Counter[str]) -> None:
    """Drops the group that Roboflow writes as a class, where it has no box."""
    used = {
        (str(entry.get('category_id')))
        for content in contents.values()
        for entry in _dicts(content, 'annotations')
    }
    dropped = set()
    for content in contents.values():
        categories = _dicts(content, 'categories')
        groups = {c.get('supercategory') for c in categories}
        parents = [
            c
            for c in categories
            if str(c.get('id')) not in used
            and c.get('supercategory') in ('none', '', None)
            and c.get('name') in groups
        ]
        for parent in parents:
            content['categories'].remove(parent)
            dropped.add(parent.get('name'))
    for name in dropped:
        changes[f'class without boxes, the group {name!r}, was dropped'] += 1


def _dicts(content: Any, part: str) -> list[dict]:
    entries = content.get(part)
    entries = entries if isinstance(entries, list) else []
    return [entry for entry in entries if isinstance(entry, dict)]


def _strip_names(content: Any, changes: Counter[str]) -> None:
    for category in _dicts(content, 'categories'):
        name = category.get('name')
        if isinstance(name, str) and name != name.strip():
            category['name'] = name.strip()
            changes['names of classes had spaces at an end'] += 1


def _same_names(file: Path, content: Any, merge: bool) -> None:
    ids = defaultdict(list)
    for category in _dicts(content, 'categories'):
        ids[category.get('name')].append(category.get('id'))
    same = {name: keys for name, keys in ids.items() if len(keys) > 1}
    if same and not merge:
        used = Counter(
            str(a.get('category_id')) for a in _dicts(content, 'annotations')
        )
        name, keys = next(iter(same.items()))
        raise UserError(
            f'{file} has {len(same)} names that several categories share: {name!r} is '
            + ' and '.join(f'id {key} ({used[str(key)]} boxes)' for key in keys)
            + '. Are they one class? Then add --merge-names; else rename one'
        )


def _mended(content: Any, file: Path, merge: bool) -> list[str]:
    try:
        return mend_annotations(content, None, Choices(merge_names=merge), file)
    except TypeError:  # an id that is a list or the like
        check_annotations(content, file)
        raise


def _entries(content: Any, file: Path, split: str, found: Found) -> list[Entry]:
    names = {c['id']: str(c['name']) for c in content['categories']}
    found.classes += [n for n in names.values() if n not in found.classes]
    boxes = defaultdict(list)
    for entry in content['annotations']:
        attributes = entry.get('attributes')
        if isinstance(attributes, dict) and attributes.get('rotation'):
            found.changes['boxes are marked as turned, and were taken upright'] += 1
        fields = {
            key: value
            for key, value in entry.items()
            if key in ('area', 'iscrowd', 'ignore', 'segmentation')
        }
        boxes[entry['image_id']].append(
            Box(names[entry['category_id']], entry['bbox'], fields)
        )
    return [
        Entry(
            Name(image['file_name'], file, split),
            boxes[image['id']],
            (round(image['width']), round(image['height'])),
        )
        for image in content['images']
    ]
