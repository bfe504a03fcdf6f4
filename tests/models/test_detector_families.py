"""MMDetection's detector families with a TResNet in place of their ResNet.

Each is built from its own config, computes a loss and predicts.  After
MMDetection's detector tests: they use stages, channels and memory formats in
ways that no test of a backbone alone does.
"""

import os.path

import mmdet
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.registry import init_default_scope

import tresnet_det  # noqa: F401  (registers TResNet)

CONFIGS = os.path.join(os.path.dirname(mmdet.__file__), '.mim', 'configs')
FAMILIES = {
    'fcos': 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'retinanet': 'retinanet/retinanet_r50_fpn_1x_coco.py',
    'atss': 'atss/atss_r50_fpn_1x_coco.py',
    'reppoints': 'reppoints/reppoints-minmax_r50_fpn-gn_head-gn_1x_coco.py',
    'centernet': 'centernet/centernet_r18_8xb16-crop512-140e_coco.py',
    'mask_rcnn': 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'solov2': 'solov2/solov2-light_r18_fpn_ms-3x_coco.py',
}


def with_tresnet(path):
    """The config's model with a tiny TResNet of the stages that it had."""
    cfg = Config.fromfile(os.path.join(CONFIGS, path)).model
    # Dense heads and masks are wide; a tiny FPN would not change what is used.
    deep = cfg.backbone.get('depth', 50) >= 50
    stages = cfg.backbone.get('out_indices', (0, 1, 2, 3))
    cfg.backbone = dict(
        type='mmdet.TResNet',
        arch=dict(depths=(1, 1, 1, 1), width=64, bottleneck=(deep,) * 4),
        out_indices=stages,
        norm_eval=False,
    )
    return cfg


def has_masks(cfg):
    return cfg.type in ('MaskRCNN', 'SOLOv2')


@pytest.mark.parametrize('family', FAMILIES)
def test_family(family):
    init_default_scope('mmdet')
    torch.manual_seed(0)
    cfg = with_tresnet(FAMILIES[family])
    detector = MODELS.build(cfg)
    inputs = demo_mm_inputs(
        2, [[3, 64, 96], [3, 80, 75]], num_items=[2, 1], with_mask=has_masks(cfg)
    )
    data = detector.data_preprocessor(inputs, training=True)
    losses = detector.train()(**data, mode='loss')
    total, _ = detector.parse_losses(losses)
    assert total.isfinite()
    total.backward()
    grad = detector.backbone.conv1.weight.grad
    assert grad.isfinite().all() and grad.any()
    with torch.no_grad():
        results = detector.eval()(
            **detector.data_preprocessor(inputs, training=False), mode='predict'
        )
    assert len(results) == 2
    assert all(r.pred_instances.scores.isfinite().all() for r in results)
