"""The demo set: what is annotated is what is drawn, and always the same."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from tresnet_det.data.demo_data import CATEGORIES, HUE_SPREAD, make_demo_data


def sums(root: Path) -> dict[str, str]:
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in root.rglob('*')
        if p.is_file()
    }


@pytest.fixture(scope='module')
def demo_set(tmp_path_factory):
    root = tmp_path_factory.mktemp('demo') / 'data'
    assert make_demo_data(root, num_train=60, num_val=12)
    return root


def test_same_seed_same_bytes(demo_set, tmp_path):
    make_demo_data(tmp_path / 'again', num_train=60, num_val=12)
    make_demo_data(tmp_path / 'other', num_train=60, num_val=12, seed=1)
    first, again, other = map(sums, (demo_set, tmp_path / 'again', tmp_path / 'other'))
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_images_are_all_different(demo_set):
    images = [v for k, v in sums(demo_set).items() if k.endswith('.png')]
    assert len(images) == len(set(images)) == 72


def test_more_images_keep_those_before(demo_set, tmp_path):
    make_demo_data(tmp_path / 'more', num_train=61, num_val=12)
    pictures = {k: v for k, v in sums(demo_set).items() if 'png' in k}
    assert pictures.items() < sums(tmp_path / 'more').items()


def test_annotations_say_what_is_drawn(demo_set):
    coco = COCO(demo_set / 'annotations' / 'instances_train.json')
    assert {c['name']: c['id'] for c in coco.dataset['categories']} == CATEGORIES
    hues = dict(zip(CATEGORIES.values(), range(0, 360, 60)))
    off = []
    for image in coco.dataset['images']:
        picture = cv2.imread(str(demo_set / 'train' / image['file_name']))
        assert picture.shape == (image['height'], image['width'], 3)
        hsv = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_BGR2HSV)
        taken = np.zeros(picture.shape[:2], int)
        for ann in coco.imgToAnns[image['id']]:
            seen = coco_mask.decode(ann['segmentation']).astype(bool)
            taken += seen
            rows, columns = np.nonzero(seen)
            x, y = columns.min(), rows.min()
            assert ann['bbox'] == [x, y, columns.max() + 1 - x, rows.max() + 1 - y]
            assert ann['area'] == seen.sum() > 0
            hue = np.median(hsv[seen][:, 0])
            off.append((hue - hues[ann['category_id']] + 180) % 360 - 180)
        assert taken.max(initial=0) <= 1  # visible parts do not overlap
    assert abs(np.mean(off)) < 5
    assert np.std(off) == pytest.approx(HUE_SPREAD, rel=0.3)


def test_scales_and_overlaps(demo_set):
    coco = COCO(demo_set / 'annotations' / 'instances_train.json')
    annotations = coco.dataset['annotations']
    assert {a['category_id'] for a in annotations} == set(CATEGORIES.values())
    assert [a['id'] for a in annotations] == list(range(1, len(annotations) + 1))
    areas = np.array([a['area'] for a in annotations])
    assert (areas < 32**2).any() and (areas > 96**2).any()
    overlapping = 0
    for image_id in coco.getImgIds():
        boxes = np.array([a['bbox'] for a in coco.imgToAnns[image_id]])
        ious = coco_mask.iou(boxes, boxes, [0] * len(boxes))
        overlapping += (ious - np.eye(len(boxes))).max(initial=0) > 0.02
    assert overlapping > 20


def test_second_call_leaves_the_set_alone(demo_set):
    before = {p: p.stat().st_mtime_ns for p in demo_set.rglob('*')}
    assert not make_demo_data(demo_set, num_train=60, num_val=12)
    assert before == {p: p.stat().st_mtime_ns for p in demo_set.rglob('*')}


def test_refuses_what_is_in_the_way(demo_set, tmp_path):
    with pytest.raises(FileExistsError, match='not the demo set asked for'):
        make_demo_data(demo_set, num_train=60, num_val=12, seed=1)
    (tmp_path / 'note').write_text('mine')
    with pytest.raises(FileExistsError, match='remove it or choose'):
        make_demo_data(tmp_path)
    assert (tmp_path / 'note').read_text() == 'mine'


def test_whole_or_not_there(tmp_path):
    calls = iter(range(3))
    with pytest.raises(StopIteration):
        make_demo_data(tmp_path / 'data', 4, 1, progress=lambda: next(calls))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('wrong', [dict(num_train=0), dict(num_val=0), dict(size=32)])
def test_bad_counts(tmp_path, wrong):
    name, value = wrong.popitem()
    with pytest.raises(ValueError, match=f'{name}={value}'):
        make_demo_data(tmp_path / 'data', **{name: value})
    assert not list(tmp_path.iterdir())


def test_info_is_json(demo_set):
    content = json.loads((demo_set / 'annotations' / 'instances_val.json').read_text())
    assert content['info']['num_train'] == 60
    assert len(content['images']) == 12
