"""Is a file of COCO annotations whole, and are its images there?

MMDetection meets a missing key or image in the middle of an epoch, and an id
that stands twice never: one of the two entries is then lost.
"""

import json
import logging
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.fileio import load
from mmengine.logging import print_log

from ..common.errors import UserError, some

__all__ = ['check_annotations', 'check_images_exist', 'read_annotations']


def _is_key(value: Any) -> bool:
    return isinstance(value, (str, int, float))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) < math.inf


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(
        map(_is_number, value))


def _is_flag(value: Any) -> bool:
    return value in (0, 1)


# What MMDetection reads of each entry, and what it must be.
_KEY = _is_key, 'no number or string'
_FIELDS: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = dict(
    images=dict(
        id=_KEY, file_name=(_is_text, 'no string'),
        width=(_is_positive, 'no positive number'),
        height=(_is_positive, 'no positive number')),
    annotations=dict(
        id=_KEY, image_id=_KEY, category_id=_KEY,
        bbox=(_is_box, 'not [x, y, width, height] in finite numbers'),
        area=(_is_number, 'no finite number'),
        iscrowd=(_is_flag, 'neither 0 nor 1')),
    categories=dict(id=_KEY, name=_KEY))


def read_annotations(ann_file: str | os.PathLike,
                     backend_args: dict | None = None) -> Any:
    """The content of an annotation file.

    Args:
        ann_file: Its path.
        backend_args: MMEngine's, for files that lie elsewhere.

    Raises:
        UserError: It cannot be opened or is no JSON.
    """
    try:
        return load(ann_file, file_format='json', backend_args=backend_args)
    except OSError as error:
        raise UserError(
            f'the annotation file {ann_file} cannot be read: '
            f'{error.strerror or error}. Set data_root and ann_file of the '
            'data set, or ann_file of the evaluator, in the config') from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f'the annotation file {ann_file} is no whole JSON file ({error}); '
            'it may be empty or cut short. Copy or write it again') from error


def check_annotations(content: Any, ann_file: str | os.PathLike,
                      test_mode: bool = False) -> None:
    """Checks keys, types, ids and boxes; warns of boxes without area.

    Args:
        content: What the annotation file holds.
        ann_file: Its path, for the messages.
        test_mode: The file is evaluated on: 'iscrowd' is needed too, and a
            file without any 'annotations' is meant for submission.

    Raises:
        UserError: The message counts each kind of fault and names entries.
    """
    if not isinstance(content, Mapping):
        raise UserError(f'{ann_file} is no COCO annotation file: it holds a '
                        f'{type(content).__name__}, expected a dict with '
                        f'{", ".join(_FIELDS)}')
    ids: dict[str, set] = {}
    for part, fields in _FIELDS.items():
        if test_mode and part == 'annotations' and part not in content:
            continue
        wanted = [*fields]
        if not test_mode and 'iscrowd' in fields:
            wanted.remove('iscrowd')
        entries = content.get(part)
        if not isinstance(entries, list) or not all(
                isinstance(entry, Mapping) for entry in entries):
            raise UserError(f'{ann_file} is no COCO annotation file: expected '
                            f'"{part}", a list of dicts with '
                            f'{", ".join(wanted)}')
        _refuse(ann_file, (
            (f'{part} without "{field}"', entry.get('id', f'number {place}'))
            for place, entry in enumerate(entries) for field in wanted
            if field not in entry))
        _refuse(ann_file, (
            (f'{part} whose {field} is {wrong}', entry['id'])
            for entry in entries for field, (is_right, wrong) in fields.items()
            if field in entry and not is_right(entry[field])))
        counts = Counter(entry['id'] for entry in entries)
        _refuse(ann_file, ((f'ids used by several {part}', key)
                           for key, count in counts.items() if count > 1))
        ids[part] = set(counts)
    annotations = content.get('annotations', ())
    for key, part in (('image_id', 'images'), ('category_id', 'categories')):
        _refuse(ann_file, (
            (f'annotations whose {key} is none of the {part}', entry['id'])
            for entry in annotations if entry[key] not in ids[part]))
    _tell_lost_boxes(content, ann_file)


def check_images_exist(content: Mapping[str, Any], folder: str | os.PathLike,
                       ann_file: str | os.PathLike,
                       allow_some: bool = False) -> None:
    """Compares file names with what lies in a folder.

    Args:
        content: Whole COCO annotations.
        folder: Where the images should lie.
        ann_file: Path of the annotations, for the message.
        allow_some: Accept missing images, unless all are.

    Raises:
        UserError: Images are missing; the message counts them.
    """
    by_folder = defaultdict(list)
    for image in content['images']:
        path = Path(folder, image['file_name'])
        by_folder[path.parent].append(path)
    missing = []
    for parent, paths in by_folder.items():  # one listing, not many look-ups
        there = set(os.listdir(parent)) if parent.is_dir() else set()
        missing += [path for path in paths if path.name not in there]
    if missing and (not allow_some or len(missing) == len(content['images'])):
        raise UserError(
            f"{len(missing)} of {len(content['images'])} images that "
            f'{ann_file} names are not there: {some(map(str, missing))}. Set '
            'data_root and data_prefix in the config or mend the files; '
            'skip_corrupt_images = True in the config goes on without some')


def _refuse(ann_file: str | os.PathLike, faults: Any) -> None:
    """Raises if there is any fault, a pair of its kind and an id."""
    kinds = defaultdict(list)
    for kind, key in faults:
        kinds[kind].append(str(key))
    if kinds:
        raise UserError(f'{ann_file} has ' + '; '.join(
            f'{len(keys)} {kind} (id {some(keys)})'
            for kind, keys in kinds.items()) + '. Mend the file')


def _tell_lost_boxes(content: Mapping[str, Any],
                     ann_file: str | os.PathLike) -> None:
    """Warns of boxes that MMDetection drops in training without a word."""
    sizes = {image['id']: (image['width'], image['height'])
             for image in content['images']}
    lost = []
    for entry in content.get('annotations', ()):
        x, y, w, h = entry['bbox']
        width, height = sizes[entry['image_id']]
        if w < 1 or h < 1 or entry['area'] <= 0 or not (
                x < width and y < height and x + w > 0 and y + h > 0):
            lost.append(str(entry['id']))
    if lost:
        print_log(
            f'{len(lost)} boxes of {ann_file} are smaller than a pixel or '
            f'outside their image (annotations {some(lost)}): left out in '
            'training, counted as missed objects in evaluation', 'current',
            logging.WARNING)
