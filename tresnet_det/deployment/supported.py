"""What can be exported, and errors that name it for what cannot."""

from typing import Any

import torch.nn as nn
from mmcv.ops import RoIAlign
from mmdet.models.dense_heads import ATSSHead, FCOSHead, GFLHead, RetinaHead, RPNHead
from mmdet.models.detectors import (
    FasterRCNN,
    MaskRCNN,
    SingleStageDetector,
    TwoStageDetector,
)
from mmdet.models.roi_heads import (
    ConvFCBBoxHead,
    FCNMaskHead,
    Shared2FCBBoxHead,
    Shared4Conv1FCBBoxHead,
    SingleRoIExtractor,
    StandardRoIHead,
)
from mmdet.models.task_modules.coders import (
    DeltaXYWHBBoxCoder,
    DistancePointBBoxCoder,
)

from ..common.errors import UserError

__all__ = ['HEADS', 'TWO_STAGES', 'check_supported', 'is_two_stage']

# Subclasses predict in their own ways, so the very types are meant.
HEADS = (FCOSHead, RetinaHead, ATSSHead, GFLHead)
TWO_STAGES = (FasterRCNN, MaskRCNN, TwoStageDetector)
_HEAD_NAMES = ', '.join(head.__name__ for head in HEADS)
# Part of a two-stage detector -> its types.
_PARTS: dict[str, tuple[type, ...]] = {
    'rpn_head': (RPNHead,),
    'roi_head': (StandardRoIHead,),
    'roi_head.bbox_roi_extractor': (SingleRoIExtractor,),
    'roi_head.bbox_head': (ConvFCBBoxHead, Shared2FCBBoxHead, Shared4Conv1FCBBoxHead),
    'roi_head.mask_roi_extractor': (SingleRoIExtractor,),
    'roi_head.mask_head': (FCNMaskHead,),
}
_CODERS = (DistancePointBBoxCoder, DeltaXYWHBBoxCoder)
_NMS_FIELDS = {'type', 'iou_threshold', 'iou_thr', 'class_agnostic', 'split_thr'}


def is_two_stage(model: nn.Module) -> bool:
    """Whether boxes are proposed first; else they are found at once."""
    return isinstance(model, TwoStageDetector)


def check_supported(model: nn.Module, raw: bool = False) -> None:
    """Tells whether a detector can be exported.

    Args:
        model: The detector.
        raw: Whether it shall end before NMS.

    Raises:
        UserError: Says what it has and what is supported.
    """
    for name, module in model.named_modules():
        kind = type(module).__name__
        if 'DeformConv' in kind or 'DeformRoI' in kind or 'CARAFE' in kind:
            raise UserError(
                f'{name} is a {kind}: ONNX as onnxruntime and TensorRT run it has '
                'no such operator. Supported are plain convs: train without dcn, '
                'dcn_on_last_conv and the like'
            )
    if is_two_stage(model):
        _check_two_stage(model, raw)
    else:
        _check_one_stage(model)


def _check_one_stage(model: Any) -> None:
    head: Any = getattr(model, 'bbox_head', None)
    if not isinstance(model, SingleStageDetector) or type(head) not in HEADS:
        found = type(model).__name__
        if head is not None:
            found += f' with a {type(head).__name__}'
        raise UserError(
            f'the model is a {found}; export knows single-stage detectors whose '
            f'bbox_head is one of {_HEAD_NAMES}, Faster R-CNN and Mask R-CNN, with '
            'any backbone and neck'
        )
    _check_head('bbox_head', head)
    if not head.use_sigmoid_cls and isinstance(head, GFLHead):
        raise UserError('a GFLHead without sigmoid is not supported')
    _check_test_cfg('test_cfg', head.test_cfg, ('nms_pre', 'max_per_img', 'score_thr'))
    if head.test_cfg.get('min_bbox_size', -1) > 0:
        raise UserError(
            f'test_cfg.min_bbox_size is {head.test_cfg.min_bbox_size}, expected 0 or '
            '-1: MMDetection applies it to boxes in the original image, whose scale '
            'the file does not know'
        )


def _check_two_stage(model: Any, raw: bool) -> None:
    roi: Any = getattr(model, 'roi_head', None)
    parts: dict[str, Any] = {
        'rpn_head': getattr(model, 'rpn_head', None),
        'roi_head': roi,
    }
    for name in ('bbox_roi_extractor', 'bbox_head', 'mask_roi_extractor', 'mask_head'):
        if 'mask' not in name or getattr(roi, 'with_mask', False):
            parts[f'roi_head.{name}'] = getattr(roi, name, None)
    kind, known = type(model).__name__, _names(TWO_STAGES[:2])
    for name, part in parts.items():
        if type(part) not in _PARTS[name]:
            raise UserError(
                f'the model is a {kind} whose {name} is a {type(part).__name__}; of '
                f'two-stage detectors export knows {known} whose {name} is a '
                f'{_names(_PARTS[name])}, with any backbone and neck'
            )
    # A student's class is made over that of a plain detector.
    if getattr(model, 'plain', type(model)) not in TWO_STAGES:
        raise UserError(
            f'the model is a {kind}; of two-stage detectors export knows {known}'
        )
    if roi.with_shared_head:
        raise UserError(
            f'roi_head.shared_head is a {type(roi.shared_head).__name__}; supported '
            'are roi heads without one, behind an FPN'
        )
    for name in ('bbox', 'mask') if roi.with_mask else ('bbox',):
        layer = getattr(roi, f'{name}_roi_extractor').roi_layers[0]
        if type(layer) is not RoIAlign or layer.pool_mode != 'avg':
            mode = getattr(layer, 'pool_mode', None)
            raise UserError(
                f'roi_head.{name}_roi_extractor.roi_layer is a '
                f'{type(layer).__name__} with pool_mode {mode!r}; supported is '
                "RoIAlign with pool_mode 'avg'"
            )
    _check_head('rpn_head', model.rpn_head)
    _check_head('roi_head.bbox_head', roi.bbox_head)
    if not (roi.bbox_head.with_cls and roi.bbox_head.with_reg):
        raise UserError(
            'roi_head.bbox_head has with_cls or with_reg off; supported are heads '
            'that give scores and boxes'
        )
    if raw:
        raise UserError(
            f'a {kind} has no raw outputs: what it proposes has gone '
            'through NMS already. Export it without --raw'
        )
    _check_test_cfg('test_cfg.rpn', model.rpn_head.test_cfg, ('nms_pre', 'max_per_img'))
    _check_test_cfg('test_cfg.rcnn', roi.test_cfg, ('max_per_img', 'score_thr'))
    if roi.with_mask:
        _check_field('test_cfg.rcnn', roi.test_cfg, 'mask_thr_binary', 0)


def _names(types: tuple[type, ...]) -> str:
    return ' or '.join(one.__name__ for one in types)


def _check_head(name: str, head: Any) -> None:
    """Coder and classification of a head."""
    if type(head.bbox_coder) not in _CODERS:
        raise UserError(
            f'the bbox_coder of {name} is a {type(head.bbox_coder).__name__}; '
            f'supported are {", ".join(coder.__name__ for coder in _CODERS)}'
        )
    custom = 'custom_cls_channels'
    if getattr(head, custom, False) or getattr(head.loss_cls, custom, False):
        raise UserError(
            f'loss_cls of {name} is a {type(head.loss_cls).__name__} with channels of '
            'its own; supported are classification by sigmoid or softmax'
        )


def _check_test_cfg(name: str, cfg: Any, fields: tuple[str, ...]) -> None:
    nms = None if cfg is None else cfg.get('nms')
    if not nms or nms.get('type', 'nms') != 'nms':
        raise UserError(
            f'{name}.nms is {None if nms is None else dict(nms)!r}; supported is '
            "dict(type='nms', iou_threshold=...), hard suppression, which soft_nms "
            f'is not. Set it by --cfg-options model.{name}.nms.type=nms and evaluate '
            'the checkpoint again'
        )
    if unknown := set(nms) - _NMS_FIELDS:
        raise UserError(
            f'{name}.nms has {sorted(unknown)}; supported are {sorted(_NMS_FIELDS)}'
        )
    for field in fields:
        _check_field(name, cfg, field, 0 if field == 'score_thr' else 1)


def _check_field(name: str, cfg: Any, field: str, least: int) -> None:
    value = cfg.get(field)
    if value is None or value < least:
        raise UserError(
            f'{name}.{field} is {value!r}, expected {least} or more: the file has '
            f'fixed limits. Set it by --cfg-options model.{name}.{field}=...'
        )
