"""What can be exported, and errors that name it for what cannot."""

from typing import Any

import torch.nn as nn
from mmdet.models.dense_heads import ATSSHead, FCOSHead, GFLHead, RetinaHead
from mmdet.models.detectors import SingleStageDetector
from mmdet.models.task_modules.coders import (
    DeltaXYWHBBoxCoder,
    DistancePointBBoxCoder,
)

from ..common.errors import UserError

__all__ = ['HEADS', 'check_supported']

# Subclasses predict in their own ways, so the very types are meant.
HEADS = (FCOSHead, RetinaHead, ATSSHead, GFLHead)
_HEAD_NAMES = ', '.join(head.__name__ for head in HEADS)
_CODERS = (DistancePointBBoxCoder, DeltaXYWHBBoxCoder)
_NMS_FIELDS = {'type', 'iou_threshold', 'iou_thr', 'class_agnostic', 'split_thr'}


def check_supported(model: nn.Module) -> None:
    """Tells whether a detector can be exported.

    Raises:
        UserError: Says what it has and what is supported.
    """
    head: Any = getattr(model, 'bbox_head', None)
    if not isinstance(model, SingleStageDetector) or type(head) not in HEADS:
        found = type(model).__name__
        if head is not None:
            found += f' with a {type(head).__name__}'
        raise UserError(
            f'the model is a {found}; export knows single-stage detectors whose '
            f'bbox_head is one of {_HEAD_NAMES}, with any backbone and neck'
        )
    for name, module in model.named_modules():
        kind = type(module).__name__
        if 'DeformConv' in kind or 'DeformRoI' in kind or 'CARAFE' in kind:
            raise UserError(
                f'{name} is a {kind}: ONNX as onnxruntime and TensorRT run it has '
                'no such operator. Supported are plain convs: train without dcn, '
                'dcn_on_last_conv and the like'
            )
    if type(head.bbox_coder) not in _CODERS:
        raise UserError(
            f'the bbox_coder is a {type(head.bbox_coder).__name__}; supported are '
            + ', '.join(coder.__name__ for coder in _CODERS)
        )
    if not head.use_sigmoid_cls and isinstance(head, GFLHead):
        raise UserError('a GFLHead without sigmoid is not supported')
    if getattr(head.loss_cls, 'custom_cls_channels', False):
        raise UserError(
            f'loss_cls is a {type(head.loss_cls).__name__} with channels of its own; '
            'supported are classification by sigmoid or softmax'
        )
    _check_test_cfg(head.test_cfg)


def _check_test_cfg(cfg: Any) -> None:
    nms = None if cfg is None else cfg.get('nms')
    if not nms or nms.get('type', 'nms') != 'nms':
        raise UserError(
            f'test_cfg.nms is {None if nms is None else dict(nms)!r}; supported is '
            "dict(type='nms', iou_threshold=...), hard suppression, which soft_nms "
            'is not. Set it by --cfg-options model.test_cfg.nms.type=nms and evaluate '
            'the checkpoint again'
        )
    if unknown := set(nms) - _NMS_FIELDS:
        raise UserError(
            f'test_cfg.nms has {sorted(unknown)}; supported are {sorted(_NMS_FIELDS)}'
        )
    for field, least in (('nms_pre', 1), ('max_per_img', 1), ('score_thr', 0)):
        value = cfg.get(field)
        if value is None or value < least:
            raise UserError(
                f'test_cfg.{field} is {value!r}, expected {least} or more: the file '
                f'has fixed limits. Set it by --cfg-options model.test_cfg.{field}=...'
            )
    if cfg.get('min_bbox_size', -1) > 0:
        raise UserError(
            f'test_cfg.min_bbox_size is {cfg.min_bbox_size}, expected 0 or -1: '
            'MMDetection applies it to boxes in the original image, whose scale the '
            'file does not know'
        )
