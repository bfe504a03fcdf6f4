"""The best boxes after non-maximum suppression, a fixed number of them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .dense import pick
from .nms import nms_mask

__all__ = ['best_boxes', 'clipped']

_LOWEST = -3.0e38


def clipped(boxes: Tensor, limit: Tensor, coder: Any) -> Tensor:
    """Boxes (N, K, 4) within (N or 1, 1, 4), where the coder clips them."""
    if not getattr(coder, 'clip_border', True):
        return boxes
    return torch.minimum(boxes.clamp(min=0), limit)


def best_boxes(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    nms: Any,
    most: int,
    least_side: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """What is left of the candidates.

    Args:
        boxes: (N, K, 4).
        scores: (N, K); candidates are those of 0 and more.
        labels: (N, K), int64; boxes of one label suppress each other.
        nms: test_cfg.nms.
        most: Boxes an image.
        least_side: Sides of a candidate must be larger; below 0 all are taken.

    Returns:
        Boxes (N, most, 4), scores and labels (N, most), the best first; in
        unused rows 0, 0 and -1.
    """
    used = scores >= 0
    if least_side >= 0:
        used = used & (boxes[..., 2] - boxes[..., 0] > least_side)
        used = used & (boxes[..., 3] - boxes[..., 1] > least_side)
    scores = torch.where(used, scores, -1.0)
    apart = boxes if nms.get('class_agnostic') else _apart(boxes, labels, used)
    threshold = nms.get('iou_threshold', nms.get('iou_thr', 0.5))
    kept = nms_mask(apart, scores, float(threshold), most)
    scores = torch.where(kept > 0, scores, -1.0)
    # A row more than there is stands for nothing.
    scores, order = F.pad(scores, (0, most), value=-1.0).topk(most)
    used = scores >= 0
    boxes = pick(F.pad(boxes, (0, 0, 0, most)), order)
    labels = F.pad(labels, (0, most)).gather(1, order)
    return (
        torch.where(used[..., None], boxes, 0.0),
        torch.where(used, scores, 0.0),
        torch.where(used, labels, -1),
    )


def _apart(boxes: Tensor, labels: Tensor, used: Tensor) -> Tensor:
    """Boxes of each label moved to a place of its own, as mmcv does."""
    farthest = torch.where(used[..., None], boxes, _LOWEST).amax((1, 2))
    farthest = torch.where(farthest > _LOWEST, farthest, 0.0)
    return boxes + (labels.float() * (farthest[:, None] + 1))[..., None]
