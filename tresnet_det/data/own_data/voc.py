"""Pascal VOC's format: one XML file an image; also Roboflow's and CVAT's."""

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from ...common.errors import UserError
from .found import Box, Found, Picture
from .libraries import supervision
from .text_files import lines_of
from .tree import Tree, split_of

__all__ = ['read_voc', 'xml_root']

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
    listed = _listed(tree)
    for file in files:
        root = xml_root(file)
        split = listed.get(file.stem) or split_of(tree.relative(file).parent)
        size = _size(root)
        name = (root.findtext('filename') or '').strip() or file.stem
        image = tree.image_of(file, name, split)
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
        if image is None:
            found.lost.append(f'{name} of {tree.relative(file)}')
            continue
        found.pictures.append(
            Picture(
                image,
                [
                    Box(
                        names[label].strip(),
                        [x + first, y + first, x2 - x - first, y2 - y - first],
                    )
                    for (x, y, x2, y2), label in zip(
                        boxes.xyxy.astype(float).tolist(), boxes.class_id.tolist()
                    )
                ],
                size,
                split,
            )
        )
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


def _listed(tree: Tree) -> dict[str, str]:
    """Stem of an image -> its split, as ImageSets/Main/train.txt and others say."""
    splits: dict[str, str] = {}
    for name in ('train', 'val', 'test'):
        for file in tree.with_suffix('.txt'):
            if file.stem == name and 'ImageSets' in file.parts:
                for line in lines_of(file):
                    splits[Path(line.split()[0]).stem] = name
    return splits
