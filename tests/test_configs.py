"""Every config parses, builds, takes a training step and predicts."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.registry import init_default_scope

ROOT = Path(__file__).parents[1] / 'configs'
CONFIGS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob('*/*.py')
                 if path.parent.name not in ('_base_', 'classification'))


@pytest.fixture(scope='module', params=CONFIGS)
def cfg(request):
    return Config.fromfile(ROOT / request.param)


@pytest.fixture(scope='module')
def model(cfg):
    init_default_scope('mmdet')
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


def test_shared_part(cfg):
    assert cfg.custom_imports.imports == ['tresnet_det']
    assert cfg.runner_type == 'CheckedRunner'
    assert cfg.model.backbone.type == 'TResNet'


def test_input_is_rgb_in_0_1(model):
    red = torch.tensor([0, 51, 255], dtype=torch.uint8)  # BGR, as loaded
    image = red[:, None, None].expand(3, 40, 70)
    inputs = model.data_preprocessor(dict(inputs=[image]))['inputs']
    assert inputs.shape == (1, 3, 64, 96)
    assert torch.allclose(inputs[0, :, 0, 0], torch.tensor([1.0, 0.2, 0.0]))


def test_neck_fits_the_backbone(cfg, model):
    assert tuple(cfg.model.neck.in_channels) == model.backbone.out_channels


def test_classes_are_counted(cfg):
    for split in ('train', 'val', 'test'):
        metainfo = cfg[f'{split}_dataloader'].dataset.get('metainfo')
        expected = len(metainfo.classes) if metainfo else 80
        assert cfg.model.bbox_head.num_classes == expected
    assert cfg.val_evaluator.ann_file.endswith(
        cfg.val_dataloader.dataset.ann_file)
    assert cfg.test_dataloader == cfg.val_dataloader
    assert cfg.test_evaluator == cfg.val_evaluator


def test_random_weights_train_their_norms(cfg):
    backbone = cfg.model.backbone
    if backbone.get('init_cfg') is None:
        assert backbone.frozen_stages == -1 and not backbone.norm_eval


def test_one_step_and_one_prediction(cfg, model):
    data = demo_mm_inputs(2, [[3, 96, 128], [3, 128, 96]],
                          num_classes=cfg.model.bbox_head.num_classes)
    model.train()
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        assert (gradient is not None) == parameter.requires_grad, name
        assert gradient is None or gradient.isfinite().all(), name
    model.eval()
    with torch.no_grad():
        results = model(**model.data_preprocessor(data, False),
                        mode='predict')
    assert len(results) == 2
    assert all(r.pred_instances.bboxes.shape[1] == 4 for r in results)


@pytest.mark.parametrize('name, variable', [
    ('demo/fcos_tresnet-m_fpn_demo.py', 'DEMO_DATA'),
    ('bccd/fcos_tresnet-m_fpn_bccd.py', 'BCCD')])
def test_data_folder_from_the_environment(monkeypatch, name, variable):
    monkeypatch.setenv(variable, '/some where/data')
    cfg = Config.fromfile(ROOT / name)
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.data_root == '/some where/data/'
    assert cfg.test_evaluator.ann_file.startswith('/some where/data/ann')
