"""Whether a file's second stage computes what MMDetection's does.

Which boxes are proposed may change where two score alike, so what the file
says of its own boxes is compared with what MMDetection says of the same ones.
"""

from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from torch import Tensor

__all__ = ['second_stage_difference', 'shared_proposals']


@torch.no_grad()
def second_stage_difference(
    model: Any, inputs: Tensor, found: dict[str, np.ndarray]
) -> float:
    """Scores and deltas of the proposals, and the masks of the detections.

    Args:
        model: MMDetection's two-stage detector.
        inputs: Normalised images (N, 3, H, W).
        found: What the file computes of them, by name: the graph's inner
            tensors and its outputs.

    Returns:
        The largest difference, of the largest value of its kind.
    """
    features, roi = model.extract_feat(inputs), model.roi_head
    right = roi._bbox_forward(features, _rois(found['proposals']))
    pairs = [
        (right['cls_score'], found['roi_scores']),
        (right['bbox_pred'], found['roi_deltas']),
    ]
    if 'masks' in found:
        maps = roi._mask_forward(features, _rois(found['boxes']))['mask_preds']
        labels = torch.as_tensor(found['labels']).reshape(-1)
        if not roi.mask_head.class_agnostic:
            maps = maps[range(len(labels)), labels.clamp(min=0)][:, None]
        maps, masks = maps.sigmoid()[:, 0], found['masks'].reshape(-1, *maps.shape[2:])
        used = labels >= 0
        pairs.append((maps[used], masks[used.numpy()]))
    return max(
        (difference(np.asarray(one), got) for one, got in pairs if got.size),
        default=0.0,
    )


def difference(right: np.ndarray, got: np.ndarray) -> float:
    """The largest, of the largest value."""
    scale = max(float(np.abs(right).max()), 1e-6)
    return float(np.abs(right - got).max()) / scale


def _rois(boxes: np.ndarray) -> Tensor:
    return bbox2roi(list(torch.as_tensor(boxes)))


@torch.no_grad()
def shared_proposals(model: Any, inputs: Tensor, proposals: np.ndarray) -> float:
    """Share of MMDetection's proposals that the file has, to one pixel."""
    size = tuple(inputs.shape[2:])
    samples = [DetDataSample(metainfo=dict(img_shape=size)) for _ in inputs]
    features = model.extract_feat(inputs)
    right = model.rpn_head.predict(features, samples, rescale=False)
    same = total = 0
    for ours, theirs in zip(proposals, right):
        boxes = theirs.bboxes.numpy()
        away = np.abs(boxes[:, None] - ours[None]).max(2)
        same += int((away.min(1) < 1).sum())
        total += len(boxes)
    return same / total if total else 1.0
