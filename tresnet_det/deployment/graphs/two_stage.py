"""Faster and Mask R-CNN: proposals of the RPN, looked at again one by one."""

from typing import Any

import torch
from torch import Tensor

from .base import DetectorGraph, detection_outputs
from .dense import DenseHead
from .roi_features import RoIFeatures
from .suppression import best_boxes, clipped

__all__ = ['TwoStageGraph']


class TwoStageGraph(DetectorGraph):
    """Boxes (N, max_per_img, 4), scores and labels; masks with a mask head.

    Masks (N, max_per_img, 28, 28) are the probabilities within the box that
    the pixel is of the box's class; 0 in unused rows. Inner tensors:
    proposals (N, K, 4), roi_scores (N * K, classes + 1) and roi_deltas
    (N * K, 4 * classes), as the box head returns them.
    """

    inner = ('proposals', 'roi_scores', 'roi_deltas')

    def __init__(self, model: Any, preprocess: bool, half: bool) -> None:
        roi = model.roi_head
        most = int(roi.test_cfg['max_per_img'])
        heads, outputs = {'box': roi.bbox_head}, detection_outputs(most)
        if roi.with_mask:
            heads['mask'] = roi.mask_head
            shape: list[str | int] = ['batch', most, *_mask_size(roi)]
            outputs.append(('masks', torch.float32, shape))
        super().__init__(model, {'rpn': model.rpn_head, **heads}, preprocess, half)
        self.outputs = outputs
        self.rpn_cfg, self.test_cfg = model.rpn_head.test_cfg, roi.test_cfg
        self.dense, self.coder = DenseHead(model.rpn_head), roi.bbox_head.bbox_coder
        self.classes = int(roi.bbox_head.num_classes)
        self.box_features = RoIFeatures(roi.bbox_roi_extractor)
        if roi.with_mask:
            self.mask_features = RoIFeatures(roi.mask_roi_extractor)
            self.mask_of_class = not roi.mask_head.class_agnostic

    @property
    def applied_test_cfg(self) -> dict[str, Any]:
        cfg = super().applied_test_cfg
        cfg.pop('min_bbox_size', None)  # which MMDetection's roi heads do not read
        return cfg

    def detect(self, features: list[Tensor], limit: Tensor) -> tuple[Tensor, ...]:
        maps = self.dense.maps(features)
        flat = [level for kind in maps for level in kind]
        proposals, objectness = self._proposals(maps, limit)
        looks = self._typed(self.box_features(features, proposals))
        logits, deltas = (values.float() for values in self.net['box'](looks))
        found = self._detections(proposals, objectness, logits, deltas, limit)
        if 'mask' in self.net:
            found += (self._masks(features, found[0], found[2]),)
        return *found, *flat, proposals, logits, deltas

    def _typed(self, values: Tensor) -> Tensor:
        return values.half() if self.half_precision else values

    def _proposals(self, maps: Any, limit: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (N, K, 4) and scores (N, K), -1 in unused rows."""
        cfg = self.rpn_cfg
        levels = []
        for level in range(len(maps[0])):
            # The RPN has no least score, and NMS takes each level by itself.
            boxes, scores, _ = self.dense.best(maps, level, int(cfg['nms_pre']), -1.0)
            levels.append((boxes, scores, torch.full_like(scores, level).long()))
        boxes, scores, places = (torch.cat(values, 1) for values in zip(*levels))
        boxes, scores, places = best_boxes(
            clipped(boxes, limit, self.dense.head.bbox_coder),
            scores,
            places,
            cfg['nms'],
            int(cfg['max_per_img']),
            cfg.get('min_bbox_size', -1),
        )
        return boxes, torch.where(places >= 0, scores, -1.0)

    def _detections(
        self,
        proposals: Tensor,
        objectness: Tensor,
        logits: Tensor,
        deltas: Tensor,
        limit: Tensor,
    ) -> tuple[Tensor, ...]:
        n, rows = objectness.shape
        classes = self.classes
        scores = logits.softmax(-1)[:, :-1].reshape(n, rows, classes)
        used = (objectness >= 0)[..., None] & (scores > self.test_cfg['score_thr'])
        scores = torch.where(used, scores, -1.0).flatten(1)
        boxes = self.coder.decode(proposals.reshape(-1, 4), deltas)
        boxes = boxes.reshape(n, rows, -1, 4)  # one for each class, or for all
        boxes = boxes.expand(-1, -1, classes, -1).reshape(n, -1, 4)
        labels = torch.arange(classes).expand(n, rows, classes).flatten(1)
        return best_boxes(
            clipped(boxes, limit, self.coder),
            scores,
            labels,
            self.test_cfg['nms'],
            int(self.test_cfg['max_per_img']),
            -1,
        )

    def _masks(self, features: list[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        n, rows = labels.shape
        looks = self._typed(self.mask_features(features, boxes))
        maps = self.net['mask'](looks).float()
        if self.mask_of_class:
            places = labels.clamp(min=0).reshape(-1, 1, 1, 1)
            maps = maps.gather(1, places.expand(-1, 1, *maps.shape[2:]))
        maps = maps.sigmoid().reshape(n, rows, *maps.shape[2:])
        return torch.where(labels[..., None, None] >= 0, maps, 0.0)


@torch.no_grad()
def _mask_size(roi: Any) -> tuple[int, ...]:
    extractor = roi.mask_roi_extractor
    size = extractor.roi_layers[0].output_size
    weight = next(roi.mask_head.parameters())
    return tuple(
        roi.mask_head(weight.new_zeros(1, extractor.out_channels, *size)).shape[2:]
    )
