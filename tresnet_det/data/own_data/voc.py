"""Pascal VOC's format: one XML file an image; also Roboflow's and CVAT's."""

import re
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from ...common.errors import UserError
from .found import Box, Found
from .libraries import supervision
from .matching import Entry, Name, matched, place
from .text_files import lines_of
from .tree import Tree

__all__ = ['read_voc', 'xml_root']

_FLAG = re.compile(r'\s+-?[01]$')  # after an image, whether a class is in it
_PIXELS = ('SegmentationClass', 'SegmentationObject')  # masks, no photographs


def xml_root(file: Path) -> Element:
    """The root of an XML file; nothing outside the file is read.

    Raises:
        UserError: It is no whole XML.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import parse

    try:
        return parse(file).getroot()
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise UserError(
            f'{file} is no whole XML file ({error or type(error).__name__}). Export '
            'it again'
        ) from error


def read_voc(files: list[Path], tree: Tree) -> Found:
    """Reads the boxes of all files; classes are in alphabetical order.

    Tools write pixels counted from 0. Only the files of the VOC challenges
    themselves count from 1, and are read so.

    Args:
        files: XML files whose root is <annotation>.
        tree: Of the source.

    Raises:
        UserError: A file has a fault.
    """
    found = Found('Pascal VOC')
    voc = supervision('pascal_voc')
    entries: list[Entry] = []
    for file in files:
        root = xml_root(file)
        name = (root.findtext('filename') or '').strip() or file.stem
        try:
            # Its size is for masks alone, which are not asked for.
            boxes, names = voc.detections_from_xml_obj(_bare(root), [], (1, 1))
        except ValueError as error:
            raise UserError(f'{file}: {error} Mend it or export it again') from error
        database = root.findtext('source/database') or ''
        first = 0 if database.startswith('The VOC20') else 1
        found.changes['objects are marked "difficult", kept as all others'] += sum(
            (o.findtext('difficult') or '').strip() == '1' for o in root.iter('object')
        )
        found.changes['polygons became the boxes around them'] += sum(
            o.find('polygon') is not None for o in root.iter('object')
        )
        entries.append(
            Entry(
                Name(name, file, tree.split_of(file.parent), own=True),
                [
                    Box(
                        names[label].strip(),
                        [x + first, y + first, x2 - x - first, y2 - y - first],
                    )
                    for (x, y, x2, y2), label in zip(
                        boxes.xyxy.astype(float).tolist(), boxes.class_id.tolist()
                    )
                ],
                _size(root),
            )
        )
    place(entries, tree, found, _listed(tree, found))
    found.classes = sorted({b.label for p in found.pictures for b in p.boxes})
    images = [image for image in tree.images if not {*image.parts} & {*_PIXELS}]
    found.count_unused(images, 'have no XML file')
    return found


def _bare(root: Element) -> Element:
    """Without polygons, which would be drawn as masks; checked for rotation."""
    for one in root.iter('object'):
        for polygon in one.findall('polygon'):
            if one.find('bndbox') is not None:
                one.append(Element('polygon_left_out'))
                one.remove(polygon)
    return root


def _size(root: Element) -> tuple[int, int] | None:
    try:
        width, height = (
            round(float(root.findtext(f'size/{side}') or 0))
            for side in ('width', 'height')
        )
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _listed(tree: Tree, found: Found) -> dict[Path, set[str]]:
    """Image -> its splits, as ImageSets/Main/train.txt and others say.

    The lists for segmentation count only where Main has none, and trainval.txt
    only where it is not divided.
    """
    lists = [f for f in tree.with_suffix('.txt') if 'ImageSets' in f.parts]
    lists = [f for f in lists if f.parent.name == 'Main'] or lists
    stems = {f.stem for f in lists}
    splits = dict(train='train', val='val', test='test')
    if not stems & {'train', 'val'}:
        splits['trainval'] = 'train'
    names = [
        Name(line, file, splits[file.stem], _FLAG.sub('', line), listed=True)
        for file in lists
        if file.stem in splits
        for line in lines_of(file)
    ]
    listed: dict[Path, set[str]] = {}
    # Their own folders, 'ImageSets/Main', say nothing of images.
    for match in matched(tree, names):
        if match.file:
            listed.setdefault(match.file, set()).add(match.name.split)
        what = 'names in lists have no image here and were passed over'
        found.changes[what] += match.file is None
    return listed
