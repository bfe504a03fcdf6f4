"""Features of boxes from the level that their size asks for.

MMDetection sorts the boxes by level; the number on a level then depends on
the image. Here every level is asked for all boxes, those of other levels as
empty ones, which cost almost nothing: sizes stay fixed.
"""

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import roi_align

__all__ = ['RoIFeatures']


class RoIFeatures:
    """What MMDetection's SingleRoIExtractor computes.

    Args:
        extractor: With RoIAlign layers.
    """

    def __init__(self, extractor: Any) -> None:
        self.layers = list(extractor.roi_layers)
        self.finest = float(extractor.finest_scale)
        self.steps = [_step(level) for level in range(1, len(self.layers))]

    def __call__(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        """Features (N * K, C, h, w) in float32 of boxes (N, K, 4)."""
        n, rows = boxes.shape[:2]
        images = torch.arange(n)[:, None].expand(n, rows).reshape(-1, 1).float()
        boxes = boxes.reshape(-1, 4)
        places = self._places(boxes)[:, None]
        out: Tensor | None = None
        for place, (layer, level) in enumerate(zip(self.layers, features)):
            here = places == place
            rois = torch.cat([images, torch.where(here, boxes, 0.0)], 1)
            # onnxruntime aligns in float32 alone.
            found = roi_align(
                level.float(),
                rois,
                layer.output_size,
                layer.spatial_scale,
                layer.sampling_ratio,
                layer.aligned,
            )
            out = (
                found if out is None else torch.where(here[..., None, None], found, out)
            )
        assert out is not None
        return out

    def _places(self, boxes: Tensor) -> Tensor:
        """Index of the level of each of (K, 4)."""
        scale = torch.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
        scale = scale / self.finest + 1e-6
        place = torch.zeros_like(scale)
        for step in self.steps:
            place = place + (scale >= step)
        return place


def _step(level: int) -> float:
    """The least float32 whose log2, as torch rounds it, is a level or more.

    Compared with, not computed: exporters divide a natural logarithm, which
    puts a box of exactly twice the size on the level below.
    """
    value = torch.tensor(2.0**level)
    while torch.nextafter(value, torch.tensor(0.0)).log2() >= level:
        value = torch.nextafter(value, torch.tensor(0.0))
    return float(value)
