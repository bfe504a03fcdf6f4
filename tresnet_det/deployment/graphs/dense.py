"""What the maps of a dense head say: of one-stage detectors, and of the RPN."""

from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import GFLHead
from torch import Tensor

__all__ = ['DenseHead', 'Maps', 'pick']

Maps = list[list[Tensor]]  # by kind (classes, boxes, centre-ness) and level


class DenseHead:
    """Reads the maps of a head level by level.

    Args:
        head: One of MMDetection's dense heads, with its coder and priors.
    """

    def __init__(self, head: Any) -> None:
        self.head = head

    def maps(self, features: list[Tensor]) -> Maps:
        # A head changes some maps in place, which the others must not see.
        return [[level.float() for level in kind] for kind in self.head(features)]

    def level(
        self, maps: Maps, level: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Scores (N, P, C), deltas (N, P, D), priors (P, 2 or 4), factors."""
        head, kinds = self.head, [kind[level] for kind in maps]
        rows, columns = kinds[0].shape[2:]
        deltas = 4 * (head.reg_max + 1) if isinstance(head, GFLHead) else 4
        scores = _rows(kinds[0], head.cls_out_channels)
        if head.use_sigmoid_cls:
            scores = scores.sigmoid()
        else:
            scores = scores.softmax(-1)[..., :-1]
        factors = _rows(kinds[2], 1).sigmoid() if len(kinds) == 3 else None
        priors = head.prior_generator.single_level_grid_priors(
            (rows, columns), level, torch.float32, kinds[0].device
        )
        return scores, _rows(kinds[1], deltas), priors, factors

    def decode(self, priors: Tensor, deltas: Tensor, level: int) -> Tensor:
        """Boxes (N, P, 4), not clipped."""
        n, points = deltas.shape[:2]
        head = self.head
        if isinstance(head, GFLHead):
            stride = head.prior_generator.strides[level][0]
            bins = torch.softmax(deltas.reshape(n, points, 4, head.reg_max + 1), -1)
            deltas = (bins * head.integral.project.float()).sum(-1) * stride
            priors = head.anchor_center(priors)
        width = priors.shape[-1]
        boxes = head.bbox_coder.decode(priors.reshape(-1, width), deltas.reshape(-1, 4))
        return boxes.reshape(n, points, 4)

    def best(
        self, maps: Maps, level: int, count: int, score_thr: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best (point, class) pairs of a level above a score.

        Returns:
            Boxes (N, count, 4), not clipped, scores and labels (N, count).
        """
        score, deltas, priors, factors = self.level(maps, level)
        score_shape, classes = score.shape, score.shape[2]
        score = score.flatten(1)
        score = torch.where(score > score_thr, score, -1.0)
        # A level may have fewer pairs than are asked for.
        score, order = F.pad(score, (0, count), value=-1.0).topk(count)
        order = torch.where(score >= 0, order, 0)
        points, labels = order, torch.zeros_like(order)
        if classes > 1:
            # Looked up, not divided: exporters divide whole numbers as float32,
            # which is wrong from 2**24 pairs on.
            shape = (score_shape[1], classes)
            points = torch.arange(shape[0])[:, None].expand(shape).reshape(-1)[order]
            labels = torch.arange(classes)[None].expand(shape).reshape(-1)[order]
        if factors is not None:
            factor = pick(factors, points)[..., 0]
            score = torch.where(score >= 0, score * factor, -1.0)
        boxes = self.decode(priors[points], pick(deltas, points), level)
        return boxes, score, labels


def _rows(values: Tensor, channels: int) -> Tensor:
    """(N, A * channels, H, W) as (N, H * W * A, channels)."""
    return values.permute(0, 2, 3, 1).reshape(values.shape[0], -1, channels)


def pick(values: Tensor, points: Tensor) -> Tensor:
    """Rows of (N, P, D) at (N, K): (N, K, D)."""
    return values.gather(1, points[..., None].expand(-1, -1, values.shape[2]))
