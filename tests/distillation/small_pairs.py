"""Tiny teachers and students of each kind of head, on random images."""

from copy import deepcopy

import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import nn

KINDS = ('fcos', 'retina', 'atss', 'gfl', 'faster')
RGB = dict(mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True)
CAFFE = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False)
MEANSTD = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
)
STRIDES = [8, 16, 32]
_CENTRE = dict(type='CrossEntropyLoss', use_sigmoid=True)
_ONE_ANCHOR = dict(
    type='AnchorGenerator',
    ratios=[1.0],
    octave_base_scale=8,
    scales_per_octave=1,
    strides=STRIDES,
)
_HEADS = dict(
    fcos=(
        'FCOS',
        dict(
            type='FCOSHead',
            norm_on_bbox=True,
            centerness_on_reg=True,
            strides=STRIDES,
            regress_ranges=((-1, 32), (32, 64), (64, 1e8)),
            loss_bbox=dict(type='GIoULoss'),
        ),
        None,
    ),
    retina=(
        'RetinaNet',
        dict(
            type='RetinaHead',
            anchor_generator=dict(
                type='AnchorGenerator',
                octave_base_scale=4,
                scales_per_octave=2,
                ratios=[0.5, 1.0],
                strides=STRIDES,
            ),
        ),
        dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.5,
                neg_iou_thr=0.4,
                min_pos_iou=0,
                ignore_iof_thr=-1,
            ),
            sampler=dict(type='PseudoSampler'),
            allowed_border=-1,
            pos_weight=-1,
        ),
    ),
    atss=(
        'ATSS',
        dict(
            type='ATSSHead',
            anchor_generator=_ONE_ANCHOR,
            bbox_coder=dict(
                type='DeltaXYWHBBoxCoder',
                target_means=[0.0] * 4,
                target_stds=[0.1, 0.1, 0.2, 0.2],
            ),
            loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
            loss_centerness=_CENTRE,
        ),
        dict(
            assigner=dict(type='ATSSAssigner', topk=9), allowed_border=-1, pos_weight=-1
        ),
    ),
    gfl=(
        'GFL',
        dict(
            type='GFLHead',
            anchor_generator=_ONE_ANCHOR,
            reg_max=4,
            loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0),
            loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
        ),
        dict(
            assigner=dict(type='ATSSAssigner', topk=9), allowed_border=-1, pos_weight=-1
        ),
    ),
)


def detector(kind, preprocessor=RGB, width=16, norm_eval=False, classes=3, **head):
    """Config of a plain one; ``head`` goes into its head."""
    if kind == 'faster':
        return _faster(preprocessor, width, norm_eval, classes, **head)
    name, own, train_cfg = deepcopy(_HEADS[kind])
    return dict(
        type=name,
        data_preprocessor=dict(
            dict(type='DetDataPreprocessor', pad_size_divisor=32), **preprocessor
        ),
        backbone=dict(
            type='TResNet', arch=dict(depths=(1, 1, 1, 1), width=8), norm_eval=norm_eval
        ),
        neck=dict(
            type='FPN',
            in_channels=[8, 16, 128, 256],
            out_channels=width,
            start_level=1,
            num_outs=3,
        ),
        bbox_head=dict(
            dict(
                own,
                num_classes=classes,
                in_channels=width,
                feat_channels=width,
                stacked_convs=2,
                norm_cfg=dict(type='GN', num_groups=4),
            ),
            **head,
        ),
        train_cfg=train_cfg,
        test_cfg=dict(
            nms_pre=100,
            min_bbox_size=0,
            score_thr=0.0,
            nms=dict(type='nms', iou_threshold=0.6),
            max_per_img=20,
        ),
    )


def _faster(preprocessor, width, norm_eval, classes, **head):
    """Of two stages: ``head`` goes into its box head, ``rpn`` into its RPN."""
    cfg = detector('retina', preprocessor, width, norm_eval)
    rpn = dict(
        type='RPNHead',
        in_channels=width,
        feat_channels=width,
        anchor_generator=_HEADS['retina'][1]['anchor_generator'],
        **head.pop('rpn', {}),
    )
    del cfg['bbox_head']
    assigner = cfg['train_cfg']['assigner']
    sampler = dict(
        type='RandomSampler', num=16, pos_fraction=0.5, add_gt_as_proposals=True
    )
    proposals = dict(
        nms_pre=50, max_per_img=20, nms=dict(type='nms', iou_threshold=0.7)
    )
    return dict(
        cfg,
        type='FasterRCNN',
        rpn_head=rpn,
        roi_head=dict(
            type='StandardRoIHead',
            bbox_roi_extractor=dict(
                type='SingleRoIExtractor',
                roi_layer=dict(type='RoIAlign', output_size=3, sampling_ratio=0),
                out_channels=width,
                featmap_strides=STRIDES,
            ),
            bbox_head=dict(
                dict(
                    type='Shared2FCBBoxHead',
                    in_channels=width,
                    fc_out_channels=width,
                    roi_feat_size=3,
                    num_classes=classes,
                ),
                **head,
            ),
        ),
        train_cfg=dict(
            rpn=dict(cfg['train_cfg'], sampler=dict(sampler, num=32)),
            rpn_proposal=dict(proposals, min_bbox_size=0),
            rcnn=dict(assigner=assigner, sampler=sampler, pos_weight=-1, debug=False),
        ),
        test_cfg=dict(rpn=dict(proposals, min_bbox_size=0), rcnn=cfg['test_cfg']),
    )


def build(cfg, seed=0):
    """A model with statistics, and scores, unlike those of a new one."""
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(ConfigDict(deepcopy(cfg)))
    for name, module in model.named_modules():
        if hasattr(module, 'running_var'):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
        elif 'backbone' not in name and isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight, std=0.1)
    return model


def write_teacher(path, cfg, seed=1, **meta):
    """A random teacher's checkpoint; gives the student's ``teacher``."""
    torch.save(
        dict(state_dict=build(cfg, seed).state_dict(), meta=meta or dict(epoch=1)),
        path,
    )
    return dict(config=dict(model=cfg), checkpoint=str(path))


def student(cfg, teacher, share_from=0, **fields):
    """The config of a student of a plain detector."""
    return dict(
        cfg,
        type='HeadSharing',
        detector=cfg['type'],
        teacher=teacher,
        share_from=share_from,
        **fields,
    )


def batch(sizes=((3, 64, 96), (3, 80, 64)), seed=0, classes=3):
    torch.manual_seed(seed)
    return demo_mm_inputs(
        len(sizes), [*sizes], num_items=[2] * len(sizes), num_classes=classes
    )


def losses(model, data=None):
    data = model.data_preprocessor(deepcopy(data or batch()), True)
    return model(**data, mode='loss')


def distilled(found):
    """The teacher's part of all losses."""
    return {k: v for k, v in found.items() if k.startswith(('loss_shared', 'loss_own'))}
