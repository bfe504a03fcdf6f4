"""TResNet with its ImageNet classifier, to check weights and to train it.

The head of the paper's network: global average pool and one linear layer.
Names of parameters are those of MMPretrain's ImageClassifier
(``backbone.*``, ``head.fc.*``), so a checkpoint of one fits the other.
"""

from typing import Any

import torch.nn as nn
from torch import Tensor

from ..weights.pretrained_module import PretrainedModule
from .backbone import TResNet
from .tracing import scriptable

__all__ = ['TResNetClassifier']


class TResNetClassifier(PretrainedModule):
    """A TResNet that gives logits.

    Args:
        arch: See `TResNet`.
        num_classes: Number of logits; 1000 for ImageNet-1k, 11221 for the
            published 21k weights.
        init_cfg: dict(type='Pretrained', checkpoint=...) loads backbone and
            classifier, see `load_pretrained`.
        backbone: Further arguments of `TResNet`.

    Shape:
        Input (N, 3, H, W), RGB in [0, 1]. Output (N, num_classes).

    Raises:
        ValueError: An argument that `TResNet` refuses.
    """

    def __init__(
        self,
        arch: str | dict = 'm',
        num_classes: int = 1000,
        init_cfg: dict | None = None,
        **backbone: Any,
    ) -> None:
        super().__init__(init_cfg)
        self.backbone = TResNet(arch, out_indices=(3,), **backbone)
        channels = self.backbone.out_channels[-1]
        self.head = nn.ModuleDict({'fc': nn.Linear(channels, num_classes)})

    def forward(self, x: Tensor) -> Tensor:
        return self.head['fc'](self.backbone(x)[-1].mean((2, 3)))

    def __prepare_scriptable__(self) -> nn.Module:
        return scriptable(self)
