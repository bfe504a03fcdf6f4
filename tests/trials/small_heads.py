"""Small detectors of six families on a data set in COCO form, as configs.

TResNet with depths 1-1-2-1 and width 24, a neck and heads of 64 channels, from
random weights; else MMDetection's own config of the family, with scales of anchors
and assignment for small images.
"""

import json
from pathlib import Path
from typing import Any

from mmengine.config import Config

__all__ = ['FAMILIES', 'small_config']

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
WIDTH = 64  # of neck and heads
STRIDES = [8, 16, 32]
ONE_STAGE = dict(
    bbox_head=dict(in_channels=WIDTH, feat_channels=WIDTH, stacked_convs=2)
)
EXTRACTOR = dict(out_channels=WIDTH, finest_scale=28)


def anchors(**scales: Any) -> dict[str, Any]:
    """Of a head with one stage; half as large as on COCO."""
    return dict(bbox_head=dict(anchor_generator=dict(strides=STRIDES, **scales)))


TWO_STAGES = dict(
    neck=dict(num_outs=4),
    rpn_head=dict(
        in_channels=WIDTH,
        feat_channels=WIDTH,
        anchor_generator=dict(scales=[4], strides=[4, *STRIDES]),
    ),
    roi_head=dict(
        bbox_roi_extractor=EXTRACTOR,
        bbox_head=dict(in_channels=WIDTH, fc_out_channels=256),
    ),
)
MASKS = dict(
    mask_roi_extractor=EXTRACTOR,
    mask_head=dict(num_convs=2, in_channels=WIDTH, conv_out_channels=WIDTH),
)
# Family -> what is changed in its model, in turn.
FAMILIES: dict[str, list[dict[str, Any]]] = {
    'fcos': [
        ONE_STAGE,
        dict(
            bbox_head=dict(
                strides=STRIDES, regress_ranges=((-1, 32), (32, 64), (64, 1e8))
            )
        ),
    ],
    'retinanet': [ONE_STAGE, anchors(octave_base_scale=2)],
    'atss': [ONE_STAGE, anchors(octave_base_scale=4)],
    'gfl': [ONE_STAGE, anchors(octave_base_scale=4)],
    'faster-rcnn': [TWO_STAGES],
    'mask-rcnn': [TWO_STAGES, dict(roi_head=MASKS)],
}


def small_config(
    family: str, data: Path, scale: tuple[int, int], epochs: int, work_dir: Path
) -> Config:
    """The config of a small detector, its training and its evaluation.

    Args:
        family: One of FAMILIES.
        data: Folder with annotations, train and val.
        scale: Width and height that images are resized to.
        epochs: Of the training; nothing is evaluated between.
        work_dir: Of the training.
    """
    folder = family.replace('-', '_')
    cfg = Config.fromfile(CONFIGS / folder / f'{family}_tresnet-m_fpn_1x_coco.py')
    small = Config.fromfile(CONFIGS / '_base_' / 'small' / 'short-schedule.py')
    train = json.loads(annotations(data, 'train').read_text())
    classes = [one['name'] for one in train['categories']]

    outputs = dict(out_channels=WIDTH, num_outs=len(STRIDES))
    parts = dict(
        backbone=dict(
            arch=dict(_delete_=True, depths=(1, 1, 2, 1), width=24),
            frozen_stages=-1,
            norm_eval=False,
            init_cfg=None,
        ),
        neck=dict(in_channels=[24, 48, 384, 768], **outputs),
    )
    for changes in (parts, *FAMILIES[family]):
        cfg.merge_from_dict(dict(model=changes))
    for head in _heads(cfg.model):
        head.num_classes = len(classes)

    for name in ('train_cfg', 'param_scheduler', 'auto_scale_lr', 'randomness'):
        cfg[name] = small[name]
    cfg.optim_wrapper = small.optim_wrapper
    cfg.train_cfg.update(max_epochs=epochs, val_interval=epochs + 1)
    cfg.param_scheduler[1].T_max = epochs
    for split in ('train', 'val'):
        own = cfg[f'{split}_dataloader'] = small[f'{split}_dataloader']
        own.dataset.update(
            data_root=f'{data}/',
            ann_file=str(annotations(data, split).relative_to(data)),
            data_prefix=dict(img=f'{split}/'),
            metainfo=dict(classes=tuple(classes)),
        )
        for step in own.dataset.pipeline:
            if step.type == 'Resize':
                step.scale = scale
            if step.type == 'LoadAnnotations':
                step.with_mask = family == 'mask-rcnn'
    cfg.val_evaluator.ann_file = str(annotations(data, 'val'))
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.work_dir = str(work_dir)
    return cfg


def annotations(data: Path, split: str) -> Path:
    """The annotation file of a split, by either name that data sets here have."""
    named = data / 'annotations' / f'instances_{split}.json'
    return named if named.exists() else data / 'annotations' / f'{split}.json'


def _heads(model: Any) -> list[Any]:
    roi = model.get('roi_head')
    if roi is None:
        return [model.bbox_head]
    return [roi[name] for name in ('bbox_head', 'mask_head') if name in roi]
