"""FCOS, RetinaNet, ATSS, GFL: the dense head's boxes are the detections."""

from typing import Any

import torch
from torch import Tensor

from .base import DetectorGraph, detection_outputs
from .dense import DenseHead, Maps
from .suppression import best_boxes, clipped

__all__ = ['OneStageGraph']


class OneStageGraph(DetectorGraph):
    """Boxes (N, max_per_img, 4), scores and labels (N, max_per_img).

    With raw: boxes (N, P, 4) and scores (N, P, classes) of all points.
    """

    def __init__(self, model: Any, raw: bool, preprocess: bool, half: bool) -> None:
        head = model.bbox_head
        super().__init__(model, {'head': head}, preprocess, half)
        self.raw, self.dense = raw, DenseHead(head)
        self.test_cfg = head.test_cfg
        self.outputs = detection_outputs(int(self.test_cfg['max_per_img']))
        if raw:
            self.outputs = [
                ('boxes', torch.float32, ['batch', 'points', 4]),
                ('scores', torch.float32, ['batch', 'points', head.num_classes]),
            ]

    def detect(self, features: list[Tensor], limit: Tensor) -> tuple[Tensor, ...]:
        maps = self.dense.maps(features)
        detect = self._points if self.raw else self._detections
        return (*detect(maps, limit), *(level for kind in maps for level in kind))

    def _points(self, maps: Maps, limit: Tensor) -> tuple[Tensor, ...]:
        boxes, scores = [], []
        for level in range(len(maps[0])):
            score, deltas, priors, factors = self.dense.level(maps, level)
            scores.append(score if factors is None else score * factors)
            priors = priors.expand(score.shape[0], *priors.shape)
            boxes.append(self.dense.decode(priors, deltas, level))
        coder = self.dense.head.bbox_coder
        return clipped(torch.cat(boxes, 1), limit, coder), torch.cat(scores, 1)

    def _detections(self, maps: Maps, limit: Tensor) -> tuple[Tensor, ...]:
        cfg = self.test_cfg
        levels = [
            self.dense.best(maps, level, int(cfg['nms_pre']), float(cfg['score_thr']))
            for level in range(len(maps[0]))
        ]
        boxes, scores, labels = (torch.cat(values, 1) for values in zip(*levels))
        boxes = clipped(boxes, limit, self.dense.head.bbox_coder)
        return best_boxes(
            boxes,
            scores,
            labels,
            cfg['nms'],
            int(cfg['max_per_img']),
            cfg.get('min_bbox_size', -1),
        )
