"""Mends annotation files where there is one way to do it."""

import os
from collections import Counter, defaultdict
from typing import Any, NamedTuple

import numpy as np

from .annotation_checks import annotation_faults, check_is_coco, text_of, unquoted
from .box_checks import look_at_boxes
from .box_table import OUTSIDE, BoxTable, box_table
from .fields import FIELDS, is_key, refers, values_of
from .image_checks import FolderOfImages, leaves_folder

__all__ = ['Choices', 'mend_annotations', 'put_in_order', 'repair']


class Choices(NamedTuple):
    """What only a person can decide.

    Attributes:
        corners: The boxes are [x1, y1, x2, y2].
        merge_names: Categories of one name are one.
        drop: Leave out what cannot be mended: images with a fault,
            annotations with a fault or of none of the images or categories.
        drop_classes: Names of categories to leave out, with their boxes.
    """

    corners: bool = False
    merge_names: bool = False
    drop: bool = False
    drop_classes: tuple[str, ...] = ()


def repair(
    content: Any,
    images: str | os.PathLike | None = None,
    choices: Choices = Choices(),  # noqa: B008  a tuple
    file: str | os.PathLike = 'this',
    sound: bool = False,
) -> list[str]:
    """Mends keys, types, ids and names: what a file needs to be read at all.

    Numbers in quotes become numbers; annotations get the area and iscrowd
    that they lack; ids of images and categories that differ in the type alone
    are matched; annotations are numbered from 1 where their ids are missing,
    used twice or no positive whole numbers.

    Args:
        content: What the file holds; changed.
        images: Folder of the images: file names become those that are there.
        choices: A person's.
        file: Its path, for messages.
        sound: ``annotation_faults`` found nothing: what mends such faults is
            passed over.

    Returns:
        What was done, in words, each with its count.

    Raises:
        UserError: It is no dict of lists of dicts.
    """
    check_is_coco(content, file)
    done = {
        'numbers were in quotes': 0 if sound else _unquote(content),
        'boxes were corners': _from_corners(content) if choices.corners else 0,
        'annotations lacked area or iscrowd': _complete(content),
        'ids had another type than what they refer to': (
            0 if sound else _match_types(content)
        ),
        'annotations were numbered anew': _number(content),
        'categories had the name of another': (
            _merge_categories(content) if choices.merge_names else 0
        ),
        'file names were changed': _rename(content, images) if images else 0,
        'entries that cannot be mended were left out': (
            _drop(content) if choices.drop else 0
        ),
        'categories were left out': _drop_classes(content, choices.drop_classes),
    }
    return [f'{count} {what}' for what, count in done.items() if count]


def mend_annotations(
    content: Any,
    images: str | os.PathLike | None = None,
    choices: Choices = Choices(),  # noqa: B008  a tuple
    file: str | os.PathLike = 'this',
) -> list[str]:
    """Repairs, and puts the boxes in order if that left no fault.

    Boxes that stand twice are left out, and those of no area or outside their
    image, which no detector can find. Areas of 0 are computed. Boxes that leave
    their image by more than a pixel are cut off there, as training does.

    Args:
        content: As for ``repair``, likewise the others.
        images: Likewise.
        choices: Likewise.
        file: Likewise.

    Returns:
        What was done, in words, each with its count.

    Raises:
        UserError: It is no dict of lists of dicts.
    """
    done = repair(content, images, choices, file)
    if next(annotation_faults(content), None):
        return done
    return [*done, *put_in_order(content)]


def put_in_order(content: dict, table: BoxTable | None = None) -> list[str]:
    """The part of ``mend_annotations`` for files without a fault.

    Args:
        content: Whole COCO annotations; changed, but for the entries, of which
            copies take the place.
        table: Of their boxes, if that is known.

    Returns:
        What was done, in words, each with its count.
    """
    table = box_table(content) if table is None else table
    faults = look_at_boxes(table)
    if faults.are_corners or faults.are_fractions or faults.of_other_sizes:
        return []
    annotations = [*content['annotations']]
    sides = table.boxes[:, 2:]
    flat = np.flatnonzero((table.areas <= 0) & (sides > 0).all(1))
    for place in flat.tolist():
        _, _, width, height = annotations[place]['bbox']
        annotations[place] = dict(annotations[place], area=width * height)
    areas = table.areas.copy()
    areas[flat] = sides[flat].prod(1)
    table = table._replace(areas=areas)
    copies = np.zeros(len(annotations), bool)
    copies[table.copies()] = True
    invisible = (sides <= 0).any(1) | (table.reasons() == OUTSIDE)
    invisible &= ~copies
    gone = copies | invisible
    leaving = table.leaving() & ~gone
    for place in np.flatnonzero(leaving).tolist():
        image = content['images'][table.images[place]]
        annotations[place] = _cut(annotations[place], image)
    kept = np.flatnonzero(~gone).tolist()
    content['annotations'] = [annotations[place] for place in kept]
    mended = {
        'areas of 0 were computed': flat.size,
        'boxes stood twice, the copies were left out': copies.sum(),
        'boxes of no width or height or outside their image were left out': (
            invisible.sum()
        ),
        'boxes were cut off at the border of their image': leaving.sum(),
    }
    return [f'{count} {what}' for what, count in mended.items() if count]


def _unquote(content: dict) -> int:
    count = 0
    for part, fields in FIELDS.items():
        for field, (fits, _, all_fit) in fields.items():
            if field.endswith('id') or field in ('name', 'file_name'):
                continue
            values = values_of(content[part], field)
            if values is not None and all_fit(values):
                continue
            for entry in content[part]:
                if field in entry and not fits(entry[field]):
                    value = unquoted(entry[field])
                    if fits(value):
                        entry[field] = value
                        count += 1
    return count


def _drop(content: dict) -> int:
    count = 0
    for _ in FIELDS:  # annotations of an image that was left out are lost then
        wrong = {id(fault.entry) for fault in annotation_faults(content)} - {id(None)}
        for part in FIELDS:
            content[part] = [e for e in content[part] if id(e) not in wrong]
        count += len(wrong)
    return count


def _drop_classes(content: dict, names: tuple[str, ...]) -> int:
    gone = [c for c in content['categories'] if c.get('name') in names]
    ids = [c.get('id') for c in gone]
    if gone:
        content['annotations'] = [
            a for a in content['annotations'] if a.get('category_id') not in ids
        ]
        content['categories'] = [c for c in content['categories'] if c not in gone]
    return len(gone)


def _cut(annotation: dict, image: dict) -> dict:
    """An annotation whose box is cut off at the border of its image."""
    x, y, w, h = annotation['bbox']
    width, height = image['width'], image['height']
    left, top = max(x, 0), max(y, 0)
    box = [left, top, min(x + w, width) - left, min(y + h, height) - top]
    if annotation['area'] == w * h:  # of the box, not of a mask
        return dict(annotation, area=box[2] * box[3], bbox=box)
    return dict(annotation, bbox=box)


def _boxes(content: dict) -> list[dict]:
    is_box = FIELDS['annotations']['bbox'].fits
    return [a for a in content['annotations'] if is_box(a.get('bbox'))]


def _from_corners(content: dict) -> int:
    boxes = _boxes(content)
    for annotation in boxes:
        x1, y1, x2, y2 = annotation['bbox']
        annotation.update(bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1))
    return len(boxes)


def _complete(content: dict) -> int:
    entries, count = content['annotations'], 0
    if None not in (values_of(entries, field) for field in ('area', 'iscrowd')):
        return 0
    for annotation in _boxes(content):
        count += not {'area', 'iscrowd'} <= {*annotation}
        _, _, width, height = annotation['bbox']
        annotation.setdefault('area', width * height)
        annotation.setdefault('iscrowd', 0)
    return count


def _match_types(content: dict) -> int:
    count = 0
    for key, part in (('image_id', 'images'), ('category_id', 'categories')):
        known = {e['id'] for e in content[part] if is_key(e.get('id'))}
        if refers(content['annotations'], key, known):
            continue
        by_text = {text_of(value): value for value in known}
        for annotation in content['annotations']:
            value = annotation.get(key)
            if is_key(value) and value not in known and text_of(value) in by_text:
                annotation[key] = by_text[text_of(value)]
                count += 1
    return count


def _number(content: dict) -> int:
    annotations = content['annotations']
    ids = [annotation.get('id') for annotation in annotations]
    whole = {*map(type, ids)} <= {int} and len({*ids}) == len(ids)
    if whole and (not ids or 0 < min(ids) and max(ids) < 2**53):
        return 0
    for number, annotation in enumerate(annotations, 1):
        annotation['id'] = number
    return len(annotations)


def _merge_categories(content: dict) -> int:
    ids = [a.get('category_id') for a in content['annotations']]
    used = Counter(filter(is_key, ids))
    by_name = defaultdict(list)
    for category in content['categories']:
        if is_key(category.get('id')):
            by_name[str(category.get('name'))].append(category)
    gone, into = set(), {}
    for same in by_name.values():
        first = max(same, key=lambda c: bool(used[c['id']]))  # the first used
        for other in same:
            if other is not first:
                gone.add(id(other))
                into[other['id']] = first['id']
    for annotation in content['annotations']:
        key = annotation.get('category_id')
        if is_key(key):
            annotation['category_id'] = into.get(key, key)
    content['categories'] = [c for c in content['categories'] if id(c) not in gone]
    return len(gone)


def _rename(content: dict, images: str | os.PathLike) -> int:
    there, count = FolderOfImages(images), 0
    taken = {image.get('file_name') for image in content['images']} - {None}
    for image in content['images']:
        name = image.get('file_name')
        if isinstance(name, str) and (name not in there or leaves_folder(name)):
            found = there.find(name)
            if found and found[0] not in taken:  # else it is another's
                taken.add(found[0])
                image['file_name'] = found[0]
                count += 1
    return count
