"""Parameters and multiply-adds: against MMEngine's count, and the table."""

import runpy
import sys
from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
from mmdet.models import FCOS
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope

from tresnet_det.common.errors import UserError
from tresnet_det.comparison.flops import backbone_name, detector_complexity

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs'
DEMO = 'demo/fcos_tresnet-m_fpn_demo.py'
DEFORMABLE = 'vfnet/vfnet_r50-mdconv-c3-c5_fpn_ms-2x_coco.py'


def read(name):
    return Config.fromfile(CONFIGS / name)


@pytest.mark.parametrize(
    'name',
    [
        DEMO,
        'paper/fcos_r50_fpn_8xb6-70e_coco.py',
        'retinanet/retinanet_tresnet-v2_l_fpn_1x_coco.py',
    ],
)
def test_equals_the_trace_that_get_flops_counts(name):
    """By operator: get_flops.py's sum holds norms and upsampling too."""
    cfg = read(name)
    params, macs = detector_complexity(cfg, (64, 96))
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model).eval()
    image = next(model.parameters()).new_zeros(1, 3, 64, 96)
    traced = FlopAnalyzer(model, (image,)).by_operator()
    assert macs == traced.pop('conv')
    assert {*traced} <= {'batch_norm', 'group_norm', 'upsample_nearest2d'}
    assert sum(traced.values()) < 0.01 * macs
    assert params == sum(p.numel() for p in model.parameters())


def test_demo_by_get_flops():
    """The command's own sum is 3.355 G, see test_tools."""
    params, macs = detector_complexity(read(DEMO), (160, 160))
    assert (f'{params / 1e6:.3f}', f'{macs / 1e9:.2f}') == ('30.797', '3.35')


def test_detr_is_told_the_size_of_the_image():
    cfg = get_config('mmdet::detr/detr_r50_8xb2-150e_coco.py')
    before = deepcopy(cfg.model)
    params, macs = detector_complexity(cfg, (64, 96))
    assert cfg.model == before  # it would be of tensors on the meta device
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model).eval()
    sample = DetDataSample(
        metainfo=dict(img_shape=(64, 96), batch_input_shape=(64, 96))
    )
    model.forward = partial(model.forward, data_samples=[sample])
    image = next(model.parameters()).new_zeros(1, 3, 64, 96)
    traced = FlopAnalyzer(model, (image,)).by_operator()
    assert macs == sum(traced[name] for name in ('conv', 'linear', 'bmm'))
    assert params == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    'name, reason',
    [
        (
            'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
            'FasterRCNN cannot be counted .* second stage depends on the proposals',
        ),
        (DEFORMABLE, r'VFNet cannot be counted .*\(RuntimeError: .*\); expected'),
        (
            'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
            'Mask2Former cannot be counted .*[Mm]eta',
        ),
    ],
)
def test_what_cannot_be_counted_says_why(name, reason):
    with pytest.raises(UserError, match=reason) as error:
        detector_complexity(get_config(f'mmdet::{name}'), (64, 64))
    assert error.value.__cause__ and '\n' not in str(error.value)


def test_error_without_a_message(monkeypatch):
    def forward(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(FCOS, 'forward', forward)
    with pytest.raises(UserError, match=r'data \(AssertionError\); expected'):
        detector_complexity(read(DEMO), (64, 64))


@pytest.mark.parametrize(
    'backbone, name',
    [
        (dict(type='TResNet', arch='v2_l'), 'TResNet-V2-L'),
        (dict(type='TResNet', arch=dict(width=8)), 'TResNet'),
        (dict(type='ResNet', depth=50), 'ResNet-50'),
        (dict(type='SwinTransformer'), 'SwinTransformer'),
    ],
)
def test_backbone_name(backbone, name):
    assert backbone_name(Config(dict(model=dict(backbone=backbone)))) == name


def table(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, 'argv', ['', *map(str, arguments)])
    runpy.run_path(
        str(ROOT / 'tools' / 'analysis_tools' / 'flops_table.py'), run_name='__main__'
    )
    lines = capsys.readouterr().out.splitlines()
    return [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in lines
        if line.startswith('|')
    ]


@pytest.mark.long
def test_table(monkeypatch, capsys):
    rows = table(monkeypatch, capsys)[2:]
    backbones = ['ResNet-50', 'TResNet-M', 'TResNet-L', 'TResNet-XL', 'TResNet-V2-L']
    assert [row[:2] for row in rows] == [
        [detector, backbone]
        for detector in ('FCOS', 'RetinaNet')
        for backbone in backbones
    ]
    # What configs/fcos/README.md says, counted when it was written.
    assert [row[2:] for row in rows[:2]] == [['32.3', '204.5'], ['38.0', '236.5']]


def test_table_of_one_config(monkeypatch, capsys):
    rows = table(monkeypatch, capsys, CONFIGS / DEMO, '--size', 160, 160)
    assert rows[2:] == [['FCOS', 'TResNet-M', '30.8', '3.3']]


def test_table_goes_on_after_what_is_not_counted(monkeypatch, capsys):
    rows = table(
        monkeypatch, capsys, f'mmdet::{DEFORMABLE}', CONFIGS / DEMO, '--size', 64, 64
    )[2:]
    assert rows[0][:3] == ['VFNet', 'ResNet-50', '']
    assert rows[0][3].startswith('not counted: VFNet cannot be counted')
    assert rows[1][:3] == ['FCOS', 'TResNet-M', '30.8']
