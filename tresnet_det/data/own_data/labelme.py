"""labelme's format: one JSON file an image."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from .found import Box, Found
from .libraries import supervision
from .matching import Entry, Name, place
from .text_files import json_of
from .tree import Tree

__all__ = ['is_labelme', 'read_labelme']


def is_labelme(content: Any) -> bool:
    """Whether what a JSON file holds is the file of one image of labelme's."""
    return isinstance(content, Mapping) and {'shapes', 'imagePath'} <= {*content}


def read_labelme(files: list[Path], tree: Tree) -> Found:
    """Reads rectangles, and the boxes around polygons; classes by alphabet.

    Shapes of one label and one group are one object.

    Args:
        files: The JSON files.
        tree: Of the source.

    Raises:
        UserError: A file has a fault.
    """
    found = Found('labelme')
    labelme = supervision('labelme')
    kinds = labelme.SUPPORTED_SHAPE_TYPES
    entries: list[Entry] = []
    for file in files:
        content, _ = json_of(file)
        shapes, name = content['shapes'], str(content['imagePath'])
        if not isinstance(shapes, list) or not all(
            isinstance(shape, Mapping) for shape in shapes
        ):
            raise UserError(f'{file}: "shapes" is no list of dicts; export it again')
        for shape in shapes:
            kind = shape.get('shape_type')
            found.changes['polygons became the boxes around them'] += kind == 'polygon'
            if kind not in kinds:
                found.changes[f'shapes of the kind {kind!r} were left out'] += 1
        shapes = [s for s in shapes if s.get('shape_type') in kinds]
        shapes = [
            {**s, 'label': str(s['label']).strip()} if 'label' in s else s
            for s in shapes
        ]
        labels = sorted({str(shape.get('label')) for shape in shapes})
        try:
            boxes = labelme.labelme_shapes_to_detections(
                shapes,
                {label: index for index, label in enumerate(labels)},
                (1, 1),
                with_masks=False,
            )
        except (ValueError, TypeError) as error:
            raise UserError(f'{file}: {error} Mend it in labelme') from error
        entries.append(
            Entry(
                Name(name, file, tree.split_of(file.parent), own=True),
                [
                    Box(labels[label], [x, y, x2 - x, y2 - y])
                    for (x, y, x2, y2), label in zip(
                        boxes.xyxy.astype(float).tolist(),
                        [] if boxes.class_id is None else boxes.class_id.tolist(),
                    )
                ],
                _size(content),
            )
        )
    place(entries, tree, found)
    found.classes = sorted({b.label for p in found.pictures for b in p.boxes})
    found.count_unused(tree.images, 'have no JSON file')
    return found


def _size(content: Mapping) -> tuple[int, int] | None:
    sides = content.get('imageWidth'), content.get('imageHeight')
    width, height = (s if isinstance(s, int) and s > 0 else 0 for s in sides)
    return (width, height) if width and height else None
