"""Exports of each tool come back with every box, and what is written trains."""

import json
import os
import re
import shutil
from collections import defaultdict
from pathlib import Path

import pytest
from exports import EXPORTS, drawn_shots, shots_of, written
from mmdet.registry import RUNNERS
from mmengine.config import Config

import tresnet_det  # noqa: F401
from tresnet_det.data.checking.check import check
from tresnet_det.data.checking.splits import splits_of_config
from tresnet_det.data.own_data import Options, make_own_data

DATA = Path(os.environ.get('TRESNET_DET_DATA', '../shared/data'))
PIXEL = dict(voc=0.51, yolo=0.02, label_studio=0.02, labelme=0.02, cvat=0.02)


def boxes_in(out):
    """(split, file name) -> sorted (class, box)."""
    found = defaultdict(list)
    for split in ('train', 'val'):
        content = json.loads((out / 'annotations' / f'{split}.json').read_text())
        names = {c['id']: c['name'] for c in content['categories']}
        files = {i['id']: i['file_name'] for i in content['images']}
        assert list(names) == [*range(1, len(names) + 1)]
        assert list(files) == [*range(1, len(files) + 1)]
        for name in files.values():
            found[split, name] = []
        for a in content['annotations']:
            found[split, files[a['image_id']]].append(
                (names[a['category_id']], a['bbox'])
            )
    return found


def same(shots, out, room):
    found = boxes_in(out)
    assert {*found} == {(shot.split, shot.file.name) for shot in shots}
    for shot in shots:
        here = found[shot.split, shot.file.name]
        assert [name for name, _ in here] == [name for name, _ in shot.objects]
        for (_, one), (_, other) in zip(here, shot.objects):
            corners = [(x, y, x + w, y + h) for x, y, w, h in (one, other)]
            assert max(abs(a - b) for a, b in zip(*corners)) <= room, (shot, one)
        assert (
            out / shot.split / shot.file.name
        ).read_bytes() == shot.file.read_bytes()


def snapshot(folder):
    return {
        path.relative_to(folder): (
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(folder.rglob('*'))
    }


@pytest.mark.parametrize('name', EXPORTS)
def test_every_box_comes_back(tmp_path, name):
    shots = drawn_shots(tmp_path / 'drawn')
    source = written(shots, tmp_path / 'source', name)
    before = snapshot(source)
    result = make_own_data(source, tmp_path / 'out')
    assert result.made and snapshot(source) == before
    assert {p.name for p in tmp_path.iterdir()} == {'drawn', 'source', 'out'}
    same(shots, tmp_path / 'out', PIXEL.get(name, 0.002))
    assert all(p.is_symlink() for p in (tmp_path / 'out' / 'train').iterdir())
    first = snapshot(tmp_path / 'out')
    again = make_own_data(source, tmp_path / 'out')
    assert not again.made and snapshot(tmp_path / 'out') == first
    make_own_data(source, tmp_path / 'other' / 'out')
    for file in ('annotations/train.json', 'annotations/val.json'):
        one, other = (tmp_path / p / file for p in ('out', 'other/out'))
        assert one.read_bytes() == other.read_bytes()
    assert loads(result.config).model.bbox_head.num_classes == 2


def loads(config):
    text = config.read_text()
    assert len(text.splitlines()) <= 25 and '0000' not in text
    assert max(map(len, re.sub(r'train.py .*', '', text).splitlines())) <= 88
    cfg = Config.fromfile(config)
    assert cfg.train_dataloader.dataset.data_root == f'{config.parent}/'
    images = json.loads(Path(cfg.val_evaluator.ann_file).read_text())['images']
    assert len(images) == 2
    return cfg


@pytest.mark.parametrize('name', ['voc', 'yolo', 'label_studio'])
@pytest.mark.parametrize('data', ['bccd', 'cards', 'deeppcb'])
def test_real_data_come_back(tmp_path, data, name):
    """A few images; tests/trials/own_data_round_trips.py takes all."""
    if not (DATA / data).is_dir():
        pytest.skip(f'{DATA / data} is not there')
    shots = shots_of((DATA / data).resolve(), 6)
    source = written(shots, tmp_path / 'source', name)
    make_own_data(source, tmp_path / 'out')
    same(shots, tmp_path / 'out', 0.51 if name == 'voc' else 0.02)


def test_a_zip_is_unpacked_into_the_result(tmp_path):
    shots = drawn_shots(tmp_path / 'drawn')
    written(shots, tmp_path / 'source', 'yolo')
    archive = shutil.make_archive(tmp_path / 'export', 'zip', tmp_path / 'source')
    before = Path(archive).read_bytes()
    make_own_data(archive, tmp_path / 'out')
    same(shots, tmp_path / 'out', 0.02)
    assert not any(p.is_symlink() for p in (tmp_path / 'out').rglob('*'))
    assert Path(archive).read_bytes() == before
    assert not make_own_data(archive, tmp_path / 'out').made


def test_label_studios_short_form(tmp_path):
    shots = drawn_shots(tmp_path / 'drawn')
    source = written(shots, tmp_path / 'source', 'label_studio', minimal=True)
    make_own_data(source, tmp_path / 'out', Options(copy=True))
    same(shots, tmp_path / 'out', 0.02)


def test_one_step_and_a_page(tmp_path):
    """What the printed command does: training, evaluation, page."""
    shots = drawn_shots(tmp_path / 'drawn', classes=('cat', 'dog'))
    source = written(shots, tmp_path / 'source', 'roboflow')
    result = make_own_data(source, tmp_path / 'out', Options(size=(64, 64), epochs=1))
    assert any("the group 'things', was dropped" in line for line in result.lines)
    cfg = Config.fromfile(result.config)
    cfg.model.backbone.arch = dict(depths=(1, 1, 1, 1), width=8)
    cfg.model.neck.in_channels = [8, 16, 128, 256]
    cfg.work_dir = str(tmp_path / 'work')
    cfg.experiment_name = cfg.visualizer.name = str(tmp_path)
    RUNNERS.build(cfg).train()
    page = (tmp_path / 'work' / 'progress.html').read_text()
    assert page.count('<img ') == 3  # the curves and two val images
    assert (
        'val_0.jpg' in page and 'epoch 1 of 1' in page and '<th>val loss</th>' in page
    )
    assert 'http' not in page.replace('http-equiv', '')


@pytest.mark.parametrize(
    ('family', 'weights', 'size', 'finest'),
    [
        ('fcos', 'random', None, 4),
        ('fcos', 'random', (640, 427), 8),  # a small head, no small boxes
        ('fcos', 'pretrained', None, 8),
        ('retinanet', None, None, 8),
    ],
)
def test_levels_of_neck_head_and_check_data_agree(
    tmp_path, family, weights, size, finest
):
    source = written(drawn_shots(tmp_path / 'drawn'), tmp_path / 'source', 'yolo')
    options = Options(family=family, weights=weights, size=size)
    config = make_own_data(source, tmp_path / 'out', options).config
    proposal = check(splits_of_config(config)).proposal
    assert proposal.strides[0] == finest
    model = loads(config).model
    head = model.bbox_head
    if family == 'fcos':
        assert model.neck.start_level == (4, 8).index(finest)
        assert model.neck.num_outs == len(head.strides) == len(head.regress_ranges)
        assert [*proposal.strides] == head.strides
        if size is None:  # check_data proposes at the size that it proposes
            assert proposal.regress_ranges == tuple(map(tuple, head.regress_ranges))
    else:
        assert proposal.anchor_scale == head.anchor_generator.octave_base_scale


def test_every_family_has_a_config(tmp_path):
    source = written(drawn_shots(tmp_path / 'drawn'), tmp_path / 'source', 'yolo')
    heads, starts = {}, {}
    (tmp_path / 'weights.pth').touch()
    for number, (family, arch, weights) in enumerate(
        [
            ('fcos', 'l', None),
            ('fcos', 'm', 'pretrained'),
            ('retinanet', 'l', None),
            ('atss', 'm', None),
            ('gfl', 'm', str(tmp_path / 'weights.pth')),
            ('faster_rcnn', 'v2_l', None),
        ]
    ):
        options = Options(family=family, arch=arch, weights=weights)
        model = loads(
            make_own_data(source, tmp_path / str(number), options).config
        ).model
        heads[number] = model.get('bbox_head') or model.roi_head.bbox_head
        starts[number] = model.neck.get('start_level', 0)
        assert model.backbone.arch == arch and heads[number].num_classes == 2
        checkpoint = (model.backbone.init_cfg or {}).get('checkpoint', '')
        assert (
            checkpoint == str(tmp_path / 'weights.pth')
            if family == 'gfl'
            else (checkpoint.startswith('timm://') != (number == 0))
        )
        assert model.neck.in_channels[-1] == (2432 if arch == 'l' else 2048)
    assert (heads[0].strides, starts[0]) == ([4, 8, 16, 32], 0)
    assert (heads[1].strides, starts[1]) == ([8, 16, 32], 1)
    assert heads[2].anchor_generator.octave_base_scale in (1, 2, 3, 4)


@pytest.mark.parametrize('kind', [*EXPORTS])
def test_images_without_annotations_are_told(tmp_path, kind):
    """YOLO's are images without objects; others' are left out."""
    shots = drawn_shots(tmp_path / 'drawn')
    source = written(shots, tmp_path / 'source', kind)
    image = next(p for p in source.rglob('*') if p.suffix in ('.png', '.jpg'))
    shutil.copy(image, image.with_name(f'spare{image.suffix}'))
    lines = make_own_data(source, tmp_path / 'out', Options(alike=True)).lines
    assert any('1 image' in line and 'no ' in line for line in lines), lines
