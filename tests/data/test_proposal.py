"""What is proposed for boxes of known sizes."""

import json

import numpy as np
import pytest
from small_runs import box, coco

from tresnet_det import UserError
from tresnet_det.data import proposal
from tresnet_det.data.box_table import box_table
from tresnet_det.data.proposal import Boxes, propose, propose_for, sizes_at

GIB = 2**30


def boxes(width, height, image=(640, 640), count=100, images=800):
    return Boxes(
        np.tile(np.array(image, float), (images, 1)),
        np.tile(np.array((width, height), float), (count, 1)),
        np.arange(count) % images,
    )


@pytest.mark.parametrize(
    'data, scale, words',
    [
        # 26 / 640 * 394 = 16: the multiple of 32 above.
        (boxes(26, 60), (416, 416), 'smallest multiple of 32'),
        (boxes(26, 60, (640, 480)), (416, 312), 'smallest multiple of 32'),
        (boxes(60, 26, (480, 640)), (416, 312), 'smallest multiple of 32'),
        (boxes(300, 300, (640, 480)), (320, 240), 'ten cells'),
        (boxes(5, 5, (640, 480)), (640, 480), 'tiles'),
        (boxes(5, 5, (4000, 3000)), (1066, 800), 'tiles'),
        (boxes(5, 5, (4000, 1000)), (1333, 333), 'tiles'),
        (boxes(50, 50, (100, 80)), (100, 80), 'ten cells'),
    ],
)
def test_scale(data, scale, words):
    found = propose_for(data, memory=16 * GIB)
    assert found.scale == scale and words in found.reasons['scale']


def test_tenth_of_the_boxes_may_be_smaller():
    data = boxes(100, 100)
    data.boxes[:9] = 3
    assert propose_for(data).scale == (320, 320)
    data.boxes[:11] = 3
    assert propose_for(data).scale == (640, 640)


def test_boxes_at_the_size_of_training():
    """As MMDetection's Resize does, each image by its own factor."""
    data = Boxes(
        np.array([(640.0, 480), (480, 640), (1000, 100)]),
        np.array([(64.0, 48), (48, 64), (100, 10)]),
        np.array([0, 1, 2]),
    )
    assert sizes_at(data, (320, 240)).tolist() == [[32, 24], [24, 32], [32, 3.2]]


@pytest.mark.parametrize(
    'size, levels, first',
    [(24, 3, 16), (70, 3, 32), (130, 3, 64), (500, 3, 64), (514, 4, 64), (1030, 5, 64)],
)
@pytest.mark.parametrize('small', [False, True])
def test_levels_and_ranges(size, levels, first, small):
    found = propose_for(boxes(size, 30, (1300, 640)), scale=(1300, 640), small=small)
    if small:  # the same coarsest level, one more below
        levels, first = levels + 1, {24: 8}.get(size, 32)
    start = 4 if small else 8
    assert found.strides == tuple(start * 2**k for k in range(levels))
    ranges = found.regress_ranges
    assert ranges[0] == (-1, first) and ranges[-1][1] == 1e8
    assert [low for low, _ in ranges[1:]] == [high for _, high in ranges[:-1]]
    assert ('narrower than' in found.reasons['strides']) == small


def test_from_c2_if_one_of_twenty_is_narrow():
    data = boxes(60, 40, (320, 320))
    assert propose_for(data).strides[0] == 8
    data.boxes[:4, 1] = 31
    assert propose_for(data).strides[0] == 8
    data.boxes[:7, 1] = 31
    assert propose_for(data).strides[0] == 4


def test_small_by_the_number_of_images():
    assert propose_for(boxes(26, 60, images=999)).strides[0] == 4
    assert propose_for(boxes(26, 60, images=1000)).strides[0] == 8


def test_anchors():
    """RetinaNet's own are kept unless others fit better."""
    overlaps = proposal.anchor_overlaps(np.array([(32.0, 32), (16, 16)]), (8,), 4)
    assert overlaps.tolist() == [1, 0.25]
    assert propose_for(boxes(100, 100)).anchor_scale == 4
    for small in (False, True):  # anchors begin at C3 anyhow
        found = propose_for(boxes(17, 17, (320, 320)), small=small)
        assert found.anchor_scale == 2


@pytest.mark.parametrize(
    'images, memory, batch, epochs',
    [
        (240, 16, 4, 17),  # 60 steps an epoch
        (800, 16, 16, 20),
        (118000, 80, 16, 12),
        (118000, 8, 8, 12),
        (118000, 1, 1, 12),  # at least one image
        (3, 80, 2, 100),
    ],
)
def test_batch_and_epochs(images, memory, batch, epochs):
    found = propose_for(boxes(26, 60, images=images), memory=memory * GIB)
    assert (found.batch_size, found.epochs) == (batch, epochs)


def test_file(tmp_path, monkeypatch):
    content = coco(
        [box(1, 5, 5, 20, 20), box(2, 1, 1, 0.5, 20), box(2, 1, 1, 9, 9, iscrowd=1)]
    )
    (tmp_path / 'a.json').write_text(json.dumps(content))
    assert proposal.usable_boxes(content, box_table(content)).boxes.tolist() == [
        [20, 20]
    ]
    monkeypatch.setattr(proposal, 'free_ram', lambda: None)
    found = propose(tmp_path / 'a.json')
    assert {*found.reasons} == {*found._fields} - {'reasons'}
    content['annotations'] = content['annotations'][1:2]
    (tmp_path / 'a.json').write_text(json.dumps(content))
    with pytest.raises(UserError, match='no box'):
        propose(tmp_path / 'a.json')
