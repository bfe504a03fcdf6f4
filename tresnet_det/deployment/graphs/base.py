"""What the graphs of all detectors begin with: images to features."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from ..halving import halve
from .dense import DenseHead

__all__ = ['DetectorGraph']

Output = tuple[str, torch.dtype, list[str | int]]


class DetectorGraph(nn.Module):
    """Images in, detections out.

    Args:
        model: A detector that `check_supported` knows.
        heads: Its heads by name.
        preprocess: Take uint8 images in BGR order, and normalise them here.
        half: The network computes in float16; decoding and NMS do not.

    Attributes:
        outputs: Name, type and shape of each output, without those below.
        inner: Names of the tensors that follow the outputs and the maps.
        test_cfg: By which detections are chosen.
        dense: The head whose maps come after the outputs.

    Shape:
        Inputs: images (N, 3, H, W), H and W at least 32; sizes (N, 2) or
        (1, 2), int64, height and width without padding. Outputs: the named
        ones, the dense head's maps in float32, and the inner ones.
    """

    mean: Tensor
    std: Tensor
    outputs: list[Output]
    inner: Sequence[str] = ()
    test_cfg: Any
    dense: DenseHead

    def __init__(
        self, model: Any, heads: dict[str, nn.Module], preprocess: bool, half: bool
    ) -> None:
        super().__init__()
        self.preprocess, self.half_precision = preprocess, half
        self.net = nn.ModuleDict({'backbone': model.backbone})
        if getattr(model, 'neck', None) is not None:
            self.net['neck'] = model.neck
        self.net.update(heads)
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
        features = self.net['backbone'](x.half() if self.half_precision else x)
        if 'neck' in self.net:
            features = self.net['neck'](features)
        limit = torch.minimum(sizes, torch.tensor([height, width]))
        limit = limit.flip(1).repeat(1, 2)[:, None].float()  # w, h, w, h
        return self.detect(list(features), limit)

    @property
    def largest_stride(self) -> int:
        """Of the backbone's and the dense head's levels, in pixels."""
        strides = self.dense.head.prior_generator.strides
        return max(32, *(max(stride) for stride in strides))

    @property
    def applied_test_cfg(self) -> dict[str, Any]:
        """What of test_cfg is applied to detections, as plain values."""
        cfg = self.test_cfg
        return cfg.to_dict() if hasattr(cfg, 'to_dict') else dict(cfg)

    def detect(self, features: list[Tensor], limit: Tensor) -> tuple[Tensor, ...]:
        """From features to all outputs; limit (N or 1, 1, 4): w, h, w, h."""
        raise NotImplementedError


def detection_outputs(most: int) -> list[Output]:
    """Boxes, scores and labels of at most so many detections an image."""
    return [
        ('boxes', torch.float32, ['batch', most, 4]),
        ('scores', torch.float32, ['batch', most]),
        ('labels', torch.int64, ['batch', most]),
    ]
