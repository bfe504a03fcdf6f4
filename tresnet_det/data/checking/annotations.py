"""What the annotations of one split say: boxes, images without, what is dropped."""

import numpy as np

from ...common.errors import UserError, some
from ..annotation_checks import kinds_of
from ..box_checks import look_at_boxes, wrong_boxes
from ..box_table import LEFT_OUT
from ..class_names import check_class_names
from ..coco_datasets import are_of, check_something_left, usable_images, with_boxes
from ..mask_checks import REMEDY, mask_faults
from .findings import Finding, Level, Picture
from .reading import ReadSplit

__all__ = ['annotation_findings', 'dropped', 'empty_images']

TINY = 4  # pixels: a side of a box below this is told


def annotation_findings(read: ReadSplit, allow_subset: bool = False) -> list[Finding]:
    """All that one split's annotations show.

    Args:
        read: Its sound entries.
        allow_subset: ``allow_class_subset`` of the config.
    """
    found = [*_box_findings(read), *_class_findings(read, allow_subset)]
    if read.split.masks:
        as_polygons = not read.split.masks.get('poly2mask', True)
        for kind in kinds_of(
            mask_faults(
                read.content, read.split.classes, read.split.test_mode, as_polygons
            )
        ):
            found.append(_finding(read, Level.ERROR, str(kind), f'{REMEDY}.'))
    empty = empty_images(read)
    if empty:
        found.append(
            _finding(
                read,
                Level.NOTE,
                f'{len(empty)} of {len(read.content["images"])} images have no box '
                f'({some(empty)})',
                'MMDetection leaves them out of training (filter_empty_gt) and counts '
                'each detection in them as wrong in evaluation. Look whether boxes '
                'were forgotten.',
            )
        )
    try:
        check_something_left(
            read.content,
            read.boxes,
            read.split.ann_file,
            _wanted(read),
            read.split.filters,
            read.split.test_mode,
        )
    except UserError as error:
        if not any(f.level is Level.ERROR and 'no box' in f.text for f in found):
            found.append(_finding(read, Level.ERROR, str(error)))
    return found


def _finding(read: ReadSplit, level: Level, text: str, remedy: str = '') -> Finding:
    return Finding(level, read.split.name, text, remedy)


def _wanted(read: ReadSplit) -> list[str]:
    return list(read.split.classes or read.classes)


def _box_findings(read: ReadSplit) -> list[Finding]:
    name, table = read.split.name, read.boxes
    annotations, images = read.content['annotations'], read.content['images']
    faults = look_at_boxes(table)
    found = []
    wrong = wrong_boxes(faults, read.split.ann_file, read.split.test_mode)
    if wrong:
        found.append(Finding(Level.ERROR, name, wrong))

    def add(places: np.ndarray, text: str, remedy: str) -> None:
        """A finding with ids and pictures of some boxes."""
        pictures = tuple(
            Picture(
                read.path(images[table.images[place]]),
                (tuple(annotations[place]['bbox']),),
                f'box {table.ids[place]}',
            )
            for place in places[:4].tolist()
        )
        text = f'{len(places)} {text} (annotations {some(table.names(places))})'
        found.append(Finding(Level.WARNING, name, text, remedy, pictures))

    for reason, places in faults.left_out.items():
        remedy = 'Training leaves them out, evaluation counts them as missed objects. '
        remedy += _MENDING.get(reason, 'Mend them by hand.')
        add(places, f'boxes are {reason}', remedy)
    beyond = np.flatnonzero(table.leaving())
    if beyond.size and not faults.are_corners:
        add(
            beyond,
            f'of {faults.total} boxes leave their image by more than a pixel',
            'Are they of images of another size? --mend does not touch them.'
            if faults.of_other_sizes
            else 'Training cuts them off at the border, evaluation does not. '
            '--mend cuts them off.',
        )
    if 0 in table.ids or '0' in table.ids:
        found.append(
            Finding(
                Level.NOTE,
                name,
                'an annotation has the id 0',
                'pycocotools always counts it as missed; evaluation in tresnet_det '
                'does not. --mend numbers from 1.',
            )
        )
    copies = table.copies()
    if copies.size:
        add(
            copies,
            'boxes stand twice: same image, category and box',
            'One of the two always counts as missed. --mend leaves the copies out.',
        )
    least = table.boxes[:, 2:].min(1)
    tiny = np.flatnonzero((least >= 1) & (least < TINY))
    if tiny.size:
        add(
            tiny,
            f'boxes are narrower than {TINY} pixels',
            'No detector finds these; look whether they are slips.',
        )
    return found


_MENDING = {
    'of area 0': '--mend computes the areas of boxes that have one.',
    'outside their image': '--mend leaves them out.',
    'smaller than a pixel': '--mend leaves out those of no width or height.',
    'marked by "ignore"': 'Is that meant?',
}


def _class_findings(read: ReadSplit, allow_subset: bool) -> list[Finding]:
    names = [category['name'] for category in read.content['categories']]
    if read.split.classes is not None:
        try:
            check_class_names(
                read.split.classes,
                names,
                read.split.ann_file,
                allow_subset,
                read.boxes_of_classes(),
            )
        except UserError as error:
            return [_finding(read, Level.ERROR, str(error))]
        return []
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if not twice:
        return []
    return [
        _finding(
            read,
            Level.ERROR,
            f'{len(twice)} names of categories stand twice: {some(twice)}',
            'MMDetection tells categories by their names. A person must say: if they '
            'are one, --mend ... --merge-names makes them one; if not, rename one in '
            'the file.',
        )
    ]


def empty_images(read: ReadSplit) -> list[str]:
    """Names of images without a box."""
    used = with_boxes(read.content, read.boxes)
    return [i['file_name'] for i in read.content['images'] if i['id'] not in used]


def dropped(read: ReadSplit) -> dict[str, int]:
    """What MMDetection leaves out of training without a word, by reason.

    Args:
        read: The split's sound entries.
    """
    content, table, wanted = read.content, read.boxes, _wanted(read)
    _, images = usable_images(content, table, wanted, read.split.filters)
    counts = {f'images {reason}': count for reason, count in images.items()}
    why = (
        *LEFT_OUT,
        'of a category that the config leaves out',
        'marked by "iscrowd", which is neither object nor background',
    )
    reasons = table.reasons()
    reasons[(reasons < 0) & table.crowds] = len(LEFT_OUT) + 1
    reasons[~are_of(content, table, wanted)] = len(LEFT_OUT)
    # In the order of the file.
    kinds, first, number = np.unique(reasons, return_index=True, return_counts=True)
    for _, kind, count in sorted(zip(first.tolist(), kinds, number.tolist())):
        if kind >= 0:
            counts[f'boxes {why[kind]}'] = count
    return counts
