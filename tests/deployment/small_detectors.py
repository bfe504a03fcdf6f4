"""Tiny detectors with weights that find many boxes, and files of them."""

from pathlib import Path

import torch
import torch.nn as nn
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch.nn.modules.batchnorm import _BatchNorm

ROOT = Path(__file__).parents[2]
ARCH = dict(
    depths=(1, 1, 1, 1),
    width=8,
    bottleneck=(False, False, True, True),
    stem_slope=1e-2,
    slope=1e-3,
)
HEADS = ('fcos', 'retinanet', 'atss', 'gfl')


def shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draws norms (gammas negative and zero too) and the head's weights."""
    draw = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.weight.data.normal_(0, 1, generator=draw)
            module.weight.data[::5] = 0
            module.bias.data.normal_(0, 0.5, generator=draw)
            module.running_mean.data.normal_(0, 0.3, generator=draw)
            module.running_var.data.uniform_(0.5, 2, generator=draw)
    for name in ('bbox_head', 'rpn_head', 'roi_head'):
        head = getattr(model, name, None)
        for parameter in () if head is None else head.parameters():
            if parameter.dim() >= 2:
                parameter.data.normal_(0, 0.05, generator=draw)
    model.eval()  # mmdet's ResNet returns None here
    return model


def detector_config(head: str) -> Config:
    """One of our configs, made tiny, for three classes."""
    name = f'{head}/{head}_tresnet-m_fpn_1x_coco.py'
    cfg = Config.fromfile(ROOT / 'configs' / name, format_python_code=False)
    options = dict(num_classes=3, in_channels=32, feat_channels=64, stacked_convs=1)
    model = cfg.model
    model.backbone.update(arch=ARCH, init_cfg=None, frozen_stages=-1)
    model.neck.update(in_channels=[8, 16, 128, 256], out_channels=32)
    model.bbox_head.update(options)
    model.test_cfg.update(nms_pre=100, max_per_img=20, score_thr=0.012)
    return cfg


def small_detector(head: str, seed: int = 1) -> nn.Module:
    init_default_scope('mmdet')
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return shaken(MODELS.build(detector_config(head).model))


# Of a two-stage detector, for three classes. Scales are halved, so that small
# images have boxes on every level.
RCNN = dict(
    neck=dict(in_channels=[8, 16, 128, 256], out_channels=16, num_outs=4),
    rpn_head=dict(
        in_channels=16,
        feat_channels=16,
        anchor_generator=dict(scales=[4], strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16, finest_scale=14),
        bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes=3),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=60, max_per_img=50), rcnn=dict(max_per_img=20, score_thr=0.3)
    ),
)
MASKS = dict(
    mask_roi_extractor=dict(out_channels=16, finest_scale=14),
    mask_head=dict(num_convs=1, in_channels=16, conv_out_channels=16, num_classes=3),
)


def levels(count: int, masks: bool) -> dict:
    """Of the pyramid, all looked at by both stages; few are exported fast."""
    strides = [4, 8, 16, 32][:count]
    extractors = ('bbox_roi_extractor', 'mask_roi_extractor')[: 1 + masks]
    return dict(
        backbone=dict(out_indices=tuple(range(count))),
        neck=dict(in_channels=[8, 16, 128, 256][:count], num_outs=count),
        rpn_head=dict(anchor_generator=dict(strides=strides)),
        roi_head={name: dict(featmap_strides=strides) for name in extractors},
    )


def rcnn_config(masks: bool = False) -> Config:
    """Our config of Faster or Mask R-CNN, made tiny."""
    family = 'mask' if masks else 'faster'
    name = f'{family}_rcnn/{family}-rcnn_tresnet-m_fpn_1x_coco.py'
    cfg = Config.fromfile(ROOT / 'configs' / name, format_python_code=False)
    cfg.model.backbone.update(arch=ARCH, init_cfg=None, frozen_stages=-1)
    cfg.merge_from_dict(dict(model=RCNN))
    if masks:
        cfg.merge_from_dict(dict(model=dict(roi_head=MASKS)))
    return cfg


def small_rcnn(masks: bool = False, changes: dict | None = None) -> nn.Module:
    init_default_scope('mmdet')
    cfg = rcnn_config(masks)
    cfg.merge_from_dict(dict(model=changes or {}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = shaken(MODELS.build(cfg.model)).requires_grad_(False)
        if masks:
            _half_full_masks(model)
    return model


@torch.no_grad()
def _half_full_masks(model: nn.Module) -> None:
    """Probabilities on both sides of a half, by the look of one box."""
    roi, draw = model.roi_head, torch.Generator().manual_seed(1)
    last = roi.mask_head.conv_logits
    last.weight.data.normal_(generator=draw)
    features = model.extract_feat(torch.rand(1, 3, 97, 161, generator=draw))
    box = torch.tensor([[0, 20.0, 20, 90, 70]])
    logits = roi._mask_forward(features, box)['mask_preds']
    last.bias -= logits.flatten(2).median(2).values[0]
