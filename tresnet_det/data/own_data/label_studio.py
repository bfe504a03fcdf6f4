"""Label Studio's JSON and JSON-MIN: one file, a list of tasks.

Its boxes are in per cent of the image. No library reads the export itself.
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ...common.errors import UserError, some
from .found import Box, Found
from .matching import Entry, Name, place
from .text_files import json_of
from .tree import IMAGES, Tree

__all__ = ['is_label_studio', 'read_label_studio']

_UPLOADED = re.compile('^[0-9a-f]{8}-')  # put before the name of an upload
_ROOM = 1  # per cent beyond the image, of rounding and of shaky hands


def is_label_studio(content: Any) -> bool:
    """Whether what a JSON file holds is an export of Label Studio's."""
    return (
        isinstance(content, list)
        and bool(content)
        and isinstance(content[0], Mapping)
        and ('data' in content[0] or _image_of(content[0]) is not None)
        and not _is_createml(content[0].get('annotations'))
    )


def _is_createml(boxes: Any) -> bool:
    return isinstance(boxes, list) and any(
        isinstance(box, Mapping) and 'coordinates' in box for box in boxes
    )


def read_label_studio(files: list[Path], tree: Tree) -> Found:
    """Reads rectangles and the boxes around turned ones, polygons and ellipses.

    Args:
        files: The JSON files.
        tree: Of the source.

    Raises:
        UserError: A task has several annotations, or a fault.
    """
    found = Found('Label Studio')
    entries: list[Entry] = []
    for file in files:
        content, _ = json_of(file)
        split = tree.split_of(file)
        for number, task in enumerate(content):
            where = f'{file}, task {task.get("id", number) if task else number}'
            if not isinstance(task, Mapping):
                raise UserError(f'{where} is a {type(task).__name__}, expected a dict')
            name = _image_of(task.get('data', task))
            if name is None:
                raise UserError(f'{where} names no image; only images are read')
            objects = _objects(task, where)
            if objects is None:
                found.changes['tasks without an annotation were left out'] += 1
                continue
            boxes = [b for entry in objects for b in _boxes(entry, where, found)]
            folder, _, last = name.rpartition('/')
            before = _UPLOADED.sub('', last) if 'upload' in folder else ''
            entries.append(
                Entry(Name(name, file, split, before), boxes, fractions=True)
            )
    place(entries, tree, found)
    found.classes = sorted({b.label for p in found.pictures for b in p.boxes})
    found.count_unused(tree.images, 'are in no task')
    return found


def _image_of(data: Any) -> str | None:
    """The name of the image, from an address of any kind."""
    for value in data.values() if isinstance(data, Mapping) else ():
        if isinstance(value, str):
            address = urlsplit(value)
            local = parse_qs(address.query).get('d')  # /data/local-files/?d=...
            path = local[0] if local else unquote(address.path)
            if path.lower().endswith(IMAGES):
                return path.lstrip('/')
    return None


def _objects(task: Mapping, where: str) -> list[Mapping] | None:
    """What was drawn on an image; None if nobody has looked at it."""
    if 'data' not in task:  # JSON-MIN: one annotation, a list for each tool
        lists = [v for v in task.values() if isinstance(v, list)]
        return [
            {'value': entry, 'type': None, **entry}
            for entries in lists
            for entry in entries
            if isinstance(entry, Mapping)
        ]
    every = task.get('annotations', task.get('completions')) or []
    if not all(isinstance(one, Mapping) for one in every):
        raise UserError(f'{where} has annotations that are no dicts. Export it again')
    made = [a for a in every if not a.get('was_cancelled') and not a.get('skipped')]
    if len(made) > 1:
        made = [a for a in made if a.get('ground_truth')] or made
    if len(made) > 1:
        raise UserError(
            f'{where} has {len(made)} annotations. Which one counts? Star it as '
            'ground truth in Label Studio, or delete the others, and export again'
        )
    if not made:
        return None
    results = made[0].get('result') or ()
    return [
        one
        for one in results
        if isinstance(one, Mapping) and isinstance(one.get('value'), Mapping)
    ]


def _boxes(entry: Mapping, where: str, found: Found) -> Iterator[Box]:
    value = entry['value']
    if entry.get('image_rotation'):
        raise UserError(
            f'{where}: the image was turned by {entry["image_rotation"]} degrees in '
            'Label Studio. Turn it back there, and export again'
        )
    labels = next(
        (v for k, v in value.items() if k.endswith('labels') and isinstance(v, list)),
        [],
    )
    corners = _corners(value, entry)
    if not labels or corners is None:
        found.changes['results are no labelled boxes and were left out'] += 1
        return
    if len(labels) > 1:
        raise UserError(f'{where}: an object has the labels {some(map(str, labels))}')
    if not all(math.isfinite(v) for corner in corners for v in corner):
        raise UserError(f'{where}: an object has no finite numbers')
    if len(corners) != 2:
        found.changes['polygons or turned boxes became the boxes around them'] += 1
    (left, right), (top, bottom) = ((min(v), max(v)) for v in zip(*corners))
    if len(corners) == 2 and not (
        -_ROOM <= min(left, top) and max(right, bottom) <= 100 + _ROOM
    ):
        raise UserError(
            f'{where}: a box from {left:g}, {top:g} to {right:g}, {bottom:g}; expected '
            'are per cent of the image, from 0 to 100. Pixels? Write 100 * x / '
            'original_width'
        )
    yield Box(
        str(labels[0]).strip(),
        [left / 100, top / 100, (right - left) / 100, (bottom - top) / 100],
    )


def _corners(value: Mapping, entry: Mapping) -> list[tuple[float, float]] | None:
    """Points around the object, in per cent; two for an upright rectangle."""
    try:
        if 'points' in value:
            return [(float(x), float(y)) for x, y in value['points']]
        x, y = float(value['x']), float(value['y'])
        if 'radiusX' in value:
            a, b = float(value['radiusX']), float(value['radiusY'])
            return _around_ellipse((x, y), (a, b), value, entry)
        w, h = float(value['width']), float(value['height'])
        cos, sin, side = _turn(value, entry)
    except (KeyError, TypeError, ValueError):
        return None
    if not sin and cos == 1:
        return [(x, y), (x + w, y + h)]
    return [  # turned about the first corner
        (x + a * cos - b * sin * side, y + a * sin / side + b * cos)
        for a, b in ((0, 0), (w, 0), (w, h), (0, h))
    ]


def _turn(value: Mapping, entry: Mapping) -> tuple[float, float, float]:
    """Cosine and sine of the angle, and height by width of the image.

    What is in per cent of two sides is turned in pixels.
    """
    angle = math.radians(float(value.get('rotation') or 0))
    wide = float(entry.get('original_width') or value.get('original_width') or 1)
    high = float(entry.get('original_height') or value.get('original_height') or 1)
    return math.cos(angle), math.sin(angle), high / wide


def _around_ellipse(
    centre: tuple[float, float],
    radii: tuple[float, float],
    value: Mapping,
    entry: Mapping,
) -> list[tuple[float, float]]:
    """Two corners of the box around an ellipse turned about its centre."""
    (x, y), (a, b), (cos, sin, side) = centre, radii, _turn(value, entry)
    wide = math.hypot(a * cos, b * side * sin)
    high = math.hypot(a / side * sin, b * cos)
    return [(x - wide, y - high), (x + wide, y + high)]
