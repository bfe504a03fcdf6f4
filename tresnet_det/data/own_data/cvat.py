"""CVAT's own format for images: one annotations.xml. No library reads it all."""

from pathlib import Path
from xml.etree.ElementTree import Element

from ...common.errors import UserError
from .found import Box, Found, around_turned
from .matching import Entry, Name, place
from .tree import Tree, split_of
from .voc import xml_root

__all__ = ['read_cvat']


def read_cvat(files: list[Path], tree: Tree) -> Found:
    """Reads boxes, and the boxes around polygons; classes as the task has them.

    Args:
        files: XML files whose root is <annotations>.
        tree: Of the source.

    Raises:
        UserError: A file has a fault or is of a video.
    """
    found = Found('CVAT for images')
    entries: list[Entry] = []
    for file in files:
        root = xml_root(file)
        if root.find('track') is not None:
            raise UserError(
                f'{file} is of a video (<track>). Export it from CVAT again as '
                '"CVAT for images 1.1" or "COCO 1.0"'
            )
        found.classes += [
            name
            for label in root.iterfind('meta//labels/label')
            if (name := (label.findtext('name') or '').strip())
            and name not in found.classes
        ]
        for entry in root.iterfind('image'):
            name = entry.get('name', '')
            split = split_of(Path(entry.get('subset') or ''))
            split = split or tree.split_of(file.parent)
            boxes = [b for one in entry if (b := _box(one, name, file, found))]
            entries.append(Entry(Name(name, file, split), boxes, _size(entry)))
    place(entries, tree, found)
    found.classes += sorted(
        {b.label for p in found.pictures for b in p.boxes} - {*found.classes}
    )
    found.count_unused(tree.images, 'are in no annotation file')
    return found


def _box(one: Element, name: str, file: Path, found: Found) -> Box | None:
    label = one.get('label', '')
    try:
        if one.tag == 'box':
            x, y, x2, y2 = (float(one.attrib[k]) for k in ('xtl', 'ytl', 'xbr', 'ybr'))
        elif one.tag == 'polygon':
            points = [
                [float(v) for v in point.split(',')]
                for point in one.attrib['points'].split(';')
            ]
            (x, x2), (y, y2) = ((min(v), max(v)) for v in zip(*points))
            found.changes['polygons became the boxes around them'] += 1
        else:
            found.changes[f'shapes of the kind {one.tag!r} were left out'] += 1
            return None
        turned = float(one.get('rotation', 0))
    except (KeyError, ValueError) as error:
        raise UserError(f'{file}: a {one.tag} of {name} is damaged: {error}') from error
    box = [x, y, x2 - x, y2 - y]
    if turned:
        found.changes['turned boxes became the upright boxes around them'] += 1
        box = around_turned(box, turned)
    return Box(label, box)


def _size(entry: Element) -> tuple[int, int] | None:
    try:
        return int(entry.get('width', '')), int(entry.get('height', ''))
    except ValueError:
        return None
