"""What the annotations of one split say: boxes, images without, what is dropped."""

from collections import Counter

from ...common.errors import UserError, some
from ..annotation_checks import kinds_of
from ..box_checks import leaves_image, look_at_boxes, why_left_out, wrong_boxes
from ..class_names import check_class_names
from ..coco_datasets import check_something_left, usable_images
from ..mask_checks import REMEDY, mask_faults
from ..same_boxes import boxes_twice
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
    name, content = read.split.name, read.content
    faults = look_at_boxes(content)
    found = []
    wrong = wrong_boxes(faults, read.split.ann_file, read.split.test_mode)
    if wrong:
        found.append(Finding(Level.ERROR, name, wrong))
    by_id = {str(a['id']): a for a in content['annotations']}
    images = {image['id']: image for image in content['images']}

    def pictures(ids: list[str]) -> tuple[Picture, ...]:
        return tuple(
            Picture(read.path(images[a['image_id']]), (tuple(a['bbox']),), f'box {key}')
            for key, a in ((key, by_id[key]) for key in ids[:4])
        )

    for reason, ids in faults.left_out.items():
        remedy = (
            'Training leaves them out, evaluation counts them as missed objects. '
            + _MENDING.get(reason, 'Mend them by hand.')
        )
        found.append(
            Finding(
                Level.WARNING,
                name,
                f'{len(ids)} boxes are {reason} (annotations {some(ids)})',
                remedy,
                pictures(ids),
            )
        )
    beyond = [
        str(a['id'])
        for a in content['annotations']
        if leaves_image(
            a['bbox'], images[a['image_id']]['width'], images[a['image_id']]['height']
        )
    ]
    if beyond and not faults.are_corners:
        found.append(
            Finding(
                Level.WARNING,
                name,
                f'{len(beyond)} of {faults.total} boxes leave their image by '
                f'more than a pixel (annotations {some(beyond)})',
                'Are they of images of another size? --mend does not touch them.'
                if faults.of_other_sizes
                else 'Training cuts them off at the border, evaluation does not. '
                '--mend cuts them off.',
                pictures(beyond),
            )
        )
    odd = [a['id'] for a in content['annotations'] if a['id'] in (0, '0')]
    if odd:
        found.append(
            Finding(
                Level.NOTE,
                name,
                'an annotation has the id 0',
                'pycocotools always counts it as missed; evaluation in tresnet_det '
                'does not. --mend numbers from 1.',
            )
        )
    copies = [str(a['id']) for a in boxes_twice(content)]
    if copies:
        found.append(
            Finding(
                Level.WARNING,
                name,
                f'{len(copies)} boxes stand twice: same image, category and box '
                f'(annotations {some(copies)})',
                'One of the two always counts as missed. --mend leaves the copies out.',
                pictures(copies),
            )
        )
    tiny = [
        str(a['id']) for a in content['annotations'] if 1 <= min(a['bbox'][2:]) < TINY
    ]
    if tiny:
        found.append(
            Finding(
                Level.WARNING,
                name,
                f'{len(tiny)} boxes are narrower than {TINY} pixels (annotations '
                f'{some(tiny)})',
                'No detector finds these; look whether they are slips.',
                pictures(tiny),
            )
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
        label = {c['id']: c['name'] for c in read.content['categories']}
        counts = Counter(label[a['category_id']] for a in read.content['annotations'])
        try:
            check_class_names(
                read.split.classes, names, read.split.ann_file, allow_subset, counts
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
    used = {annotation['image_id'] for annotation in read.content['annotations']}
    return [i['file_name'] for i in read.content['images'] if i['id'] not in used]


def dropped(read: ReadSplit) -> dict[str, int]:
    """What MMDetection leaves out of training without a word, by reason.

    Args:
        read: The split's sound entries.
    """
    images = {i['id']: (i['width'], i['height']) for i in read.content['images']}
    names = {c['id']: c['name'] for c in read.content['categories']}
    wanted = _wanted(read)
    counts: Counter[str] = Counter()
    _, reasons = usable_images(read.content, wanted, read.split.filters)
    counts.update({f'images {reason}': n for reason, n in reasons.items()})
    for annotation in read.content['annotations']:
        reason = why_left_out(annotation, *images[annotation['image_id']])
        if names[annotation['category_id']] not in wanted:
            reason = 'of a category that the config leaves out'
        elif not reason and annotation.get('iscrowd'):
            reason = 'marked by "iscrowd", which is neither object nor background'
        if reason:
            counts[f'boxes {reason}'] += 1
    return dict(counts)
