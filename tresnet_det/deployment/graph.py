"""A detector from images to a fixed number of detections, for exporters.

It computes what MMDetection's `predict_by_feat` does, with fixed sizes: where
MMDetection drops rows, rows are marked by a score of -1 here.
"""

from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmdet.models.dense_heads import GFLHead
from torch import Tensor

from .halving import halve
from .nms import nms_mask
from .supported import check_supported

__all__ = ['DetectorGraph']

_LOWEST = -3.0e38


class DetectorGraph(nn.Module):
    """Images in, boxes, scores and labels out.

    Args:
        model: A detector; see `supported.py`. Its norms should be folded.
        raw: Boxes and scores of all points, before the limits and NMS.
        preprocess: Take uint8 images in BGR order, and normalise them here.
        half: The network computes in float16; decoding and NMS do not.

    Shape:
        Inputs: images (N, 3, H, W), H and W at least 32; sizes (N, 2) or
        (1, 2), int64, height and width without padding. Outputs: boxes
        (N, max_per_img, 4), xyxy in pixels of the input; scores and labels
        (N, max_per_img); unused rows are 0, 0 and -1. Raw: boxes (N, P, 4),
        scores (N, P, classes). After them the head's maps in float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, raw: bool, preprocess: bool, half: bool) -> None:
        super().__init__()
        check_supported(model)
        self.raw, self.preprocess, self.half_precision = raw, preprocess, half
        self.net = nn.ModuleDict({'backbone': model.backbone})
        if getattr(model, 'neck', None) is not None:
            self.net['neck'] = model.neck
        self.net['head'] = model.bbox_head
        self.head: Any = model.bbox_head
        self.cfg: Any = self.head.test_cfg
        normaliser: Any = model.data_preprocessor
        self.swap = bool(getattr(normaliser, '_channel_conversion', False))
        normalises = getattr(normaliser, '_enable_normalize', False)
        mean = normaliser.mean if normalises else torch.zeros(3, 1, 1)
        std = normaliser.std if normalises else torch.ones(3, 1, 1)
        self.register_buffer('mean', mean.detach().clone().float().cpu())
        self.register_buffer('std', std.detach().clone().float().cpu())
        if half:
            halve(self.net)

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        height, width = images.shape[2:]
        x = images
        if self.preprocess:
            x = x.float()
            if self.swap:
                x = x.flip(1)
            x = (x - self.mean) / self.std
        maps = self._maps(x.half() if self.half_precision else x)
        limit = torch.minimum(sizes, torch.tensor([height, width]))
        limit = limit.flip(1).repeat(1, 2)[:, None].float()  # w, h, w, h
        detect = self._points if self.raw else self._detections
        flat = [tensor for kind in maps for tensor in kind]
        return (*detect(maps, limit), *flat)

    def _maps(self, x: Tensor) -> list[list[Tensor]]:
        """The head's maps by kind and level: classes, boxes, centre-ness."""
        features = self.net['backbone'](x)
        if 'neck' in self.net:
            features = self.net['neck'](features)
        # A head changes some maps in place, which the others must not see.
        return [[level.float() for level in kind] for kind in self.head(features)]

    def _level(
        self, maps: list[list[Tensor]], level: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Scores (N, P, C), deltas (N, P, D), priors (P, 2 or 4), factors."""
        head, kinds = self.head, [kind[level] for kind in maps]
        rows, columns = kinds[0].shape[2:]
        channels = head.cls_out_channels
        deltas = 4 * (head.reg_max + 1) if isinstance(head, GFLHead) else 4
        scores = _rows(kinds[0], channels)
        if head.use_sigmoid_cls:
            scores = scores.sigmoid()
        else:
            scores = scores.softmax(-1)[..., :-1]
        factors = _rows(kinds[2], 1).sigmoid() if len(kinds) == 3 else None
        priors = head.prior_generator.single_level_grid_priors(
            (rows, columns), level, torch.float32, kinds[0].device
        )
        return scores, _rows(kinds[1], deltas), priors, factors

    def _decode(self, priors: Tensor, deltas: Tensor, level: int) -> Tensor:
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

    def _clip(self, boxes: Tensor, limit: Tensor) -> Tensor:
        if not getattr(self.head.bbox_coder, 'clip_border', True):
            return boxes
        return torch.minimum(boxes.clamp(min=0), limit)

    def _points(self, maps: list[list[Tensor]], limit: Tensor) -> tuple[Tensor, Tensor]:
        boxes, scores = [], []
        for level in range(len(maps[0])):
            score, deltas, priors, factors = self._level(maps, level)
            scores.append(score if factors is None else score * factors)
            priors = priors.expand(score.shape[0], *priors.shape)
            boxes.append(self._decode(priors, deltas, level))
        return self._clip(torch.cat(boxes, 1), limit), torch.cat(scores, 1)

    def _detections(
        self, maps: list[list[Tensor]], limit: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        levels = [self._best(maps, level) for level in range(len(maps[0]))]
        boxes, scores, labels = (torch.cat(values, 1) for values in zip(*levels))
        boxes = self._clip(boxes, limit)
        used = scores > 0
        if self.cfg.get('min_bbox_size', -1) >= 0:
            least = self.cfg['min_bbox_size']
            used = used & (boxes[..., 2] - boxes[..., 0] > least)
            used = used & (boxes[..., 3] - boxes[..., 1] > least)
        scores = torch.where(used, scores, -1.0)
        kept = nms_mask(
            self._apart(boxes, labels, used),
            scores,
            float(self._nms('iou_threshold', self._nms('iou_thr', 0.5))),
            int(self.cfg['max_per_img']),
        )
        scores = torch.where(kept > 0, scores, -1.0)
        most = int(self.cfg['max_per_img'])
        # A row more than there is stands for nothing.
        scores, order = F.pad(scores, (0, most), value=-1.0).topk(most)
        used = scores > 0
        boxes = F.pad(boxes, (0, 0, 0, most))
        boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
        labels = F.pad(labels, (0, most)).gather(1, order)
        return (
            torch.where(used[..., None], boxes, 0.0),
            torch.where(used, scores, 0.0),
            torch.where(used, labels, -1),
        )

    def _nms(self, field: str, default: Any) -> Any:
        return self.cfg['nms'].get(field, default)

    def _apart(self, boxes: Tensor, labels: Tensor, used: Tensor) -> Tensor:
        """Boxes of each class moved to a place of its own, as mmcv does."""
        if self._nms('class_agnostic', False):
            return boxes
        farthest = torch.where(used[..., None], boxes, _LOWEST).amax((1, 2))
        farthest = torch.where(farthest > _LOWEST, farthest, 0.0)
        return boxes + (labels.float() * (farthest[:, None] + 1))[..., None]

    def _best(
        self, maps: list[list[Tensor]], level: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The nms_pre best (point, class) pairs of a level."""
        score, deltas, priors, factors = self._level(maps, level)
        score_shape, classes = score.shape, score.shape[2]
        count = int(self.cfg['nms_pre'])
        score = score.flatten(1)
        score = torch.where(score > self.cfg['score_thr'], score, -1.0)
        # A level may have fewer pairs than are asked for.
        score, order = F.pad(score, (0, count), value=-1.0).topk(count)
        order = torch.where(score > 0, order, 0)
        # Looked up, not divided: exporters divide whole numbers as float32,
        # which is wrong from 2**24 pairs on.
        shape = (score_shape[1], classes)
        points = torch.arange(shape[0])[:, None].expand(shape).reshape(-1)[order]
        labels = torch.arange(classes)[None].expand(shape).reshape(-1)[order]
        if factors is not None:
            score = torch.where(score > 0, score * _pick(factors, points)[..., 0], -1.0)
        boxes = self._decode(priors[points], _pick(deltas, points), level)
        return boxes, score, labels


def _rows(values: Tensor, channels: int) -> Tensor:
    """(N, A * channels, H, W) as (N, H * W * A, channels)."""
    return values.permute(0, 2, 3, 1).reshape(values.shape[0], -1, channels)


def _pick(values: Tensor, points: Tensor) -> Tensor:
    """Rows of (N, P, D) at (N, K): (N, K, D)."""
    return values.gather(1, points[..., None].expand(-1, -1, values.shape[2]))
