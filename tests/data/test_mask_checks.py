"""Masks that would stop a training or an evaluation."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from small_runs import SIZE, box, coco

from tresnet_det import UserError
from tresnet_det.data.mask_checks import check_masks

WHOLE = [5, 5, 25, 5, 25, 25]
PICTURE = np.zeros((SIZE, SIZE), np.uint8, order='F')
PICTURE[5:25, 9:30] = 1


def compressed(picture=PICTURE):
    runs = coco_mask.encode(np.asfortranarray(picture))
    return dict(runs, counts=runs['counts'].decode())


def check(mask, evaluated=False, **options):
    annotation = box(1, 5, 5, 20, 20, segmentation=mask)
    if mask == 'absent':
        del annotation['segmentation']
    check_masks(coco([annotation]), 'ann.json', evaluated=evaluated, **options)


UNCOMPRESSED = dict(size=[SIZE, SIZE], counts=[100, 50, SIZE * SIZE - 150])
RIGHT = {
    'polygon': [WHOLE],
    'floats': [[5.5, 5, 25.0, 5, 25, 25, 3, 4]],
    'two polygons': [WHOLE, WHOLE],
    'run lengths': UNCOMPRESSED,
    'compressed': compressed(),
    'nothing': compressed(0 * PICTURE),
    'all': compressed(0 * PICTURE + 1),
    'noise': compressed(
        np.random.default_rng(0).integers(0, 2, (SIZE, SIZE), np.uint8)
    ),
}
WRONG = {
    'absent': ('absent', 'missing or empty'),
    'null': (None, 'missing or empty'),
    'empty': ([], 'missing or empty'),
    'empty dict': ({}, 'missing or empty'),
    'a word': ('x', 'neither polygons nor run lengths'),
    'flat': (WHOLE, 'one list of numbers'),
    'empty polygon': ([[]], 'three points'),
    'one point': ([[5, 5]], 'three points'),
    'two points': ([[5, 5, 25, 5]], 'three points'),
    'odd count': ([[5, 5, 25, 5, 25, 25, 7]], 'three points'),
    'points in lists': ([[[5, 5], [25, 5], [25, 25]]], 'finite numbers'),
    'quotes': ([['5', '5', '25', '5', '25', '25']], 'finite numbers'),
    'NaN': ([[5, 5, float('nan'), 5, 25, 25]], 'finite numbers'),
    'of another size': (dict(UNCOMPRESSED, size=[SIZE, 9]), 'another size'),
    'no size': (dict(counts=[1, 2]), 'without "counts" or "size"'),
    'size a number': (dict(UNCOMPRESSED, size=SIZE), 'another size'),
    'no counts': (dict(size=[SIZE, SIZE]), 'without "counts" or "size"'),
    'too short': (dict(UNCOMPRESSED, counts=[100, 50]), 'do not fill'),
    'negative': (dict(UNCOMPRESSED, counts=[-1, 1, SIZE * SIZE]), 'do not fill'),
    'compressed of another size': (
        dict(compressed(PICTURE[:9]), size=[SIZE, SIZE]),
        'do not fill',
    ),
    'compressed, cut': (
        dict(compressed(), counts=compressed()['counts'][:-2]),
        'do not fill',
    ),
    'compressed, nonsense': (dict(compressed(), counts='画像'), 'do not fill'),
}


@pytest.mark.parametrize('case', RIGHT)
def test_right(case):
    check(RIGHT[case])
    check(RIGHT[case], evaluated=True)


@pytest.mark.parametrize('evaluated', [False, True])
@pytest.mark.parametrize('case', WRONG)
def test_wrong(case, evaluated):
    mask, words = WRONG[case]
    with pytest.raises(UserError, match=rf'1 masks that .*{words}.* \(id 1\)') as error:
        check(mask, evaluated)
    assert 'boxes alone' in str(error.value)


def test_short_polygons_beside_whole_ones():
    """Training drops them; pycocotools takes the first for a box."""
    check([WHOLE, [5, 5, 6, 6]], evaluated=True)
    check([[5, 5, 6, 6], WHOLE])
    with pytest.raises(UserError, match='begin with a polygon'):
        check([[5, 5, 6, 6], WHOLE], evaluated=True)


def test_polygons_alone():
    check([WHOLE], as_polygons=True)
    with pytest.raises(UserError, match='poly2mask=False'):
        check(compressed(), as_polygons=True)


def test_masks_that_nobody_reads():
    """Of boxes that are left out, and of classes that do not count."""
    content = coco([box(1, 5, 5, 0.5, 9), box(1, 5, 5, 9, 9, category=2)], ('a', 'b'))
    check_masks(content, 'ann.json', ['a'])
    for options in (dict(classes=['a'], evaluated=True), dict(classes=['b'])):
        with pytest.raises(UserError, match='1 masks'):
            check_masks(content, 'ann.json', **options)
