"""TResNet with one part changed, to find what that part does to a training.

No published weights fit these; they are for tests/trials/from_scratch.py.
"""

from typing import Any

import torch.nn as nn
from mmdet.registry import MODELS

from tresnet_det import TResNet
from tresnet_det.models.network import BasicBlock, Bottleneck

__all__ = ['ChangedTResNet']


@MODELS.register_module()
class ChangedTResNet(TResNet):
    """TResNet with other parts than the paper's.

    Args:
        stem: 'blocks' as published; 'convs' as ResNet: a 7x7 conv of stride 2, then
            a max pool of stride 2.
        squeeze_excite: False leaves it out.
        blur: False takes every second pixel of every second row, as a conv of
            stride 2 does.
        last_gammas: What the last norm of each block starts at; published is 0.
        options: Those of TResNet.
    """

    def __init__(
        self,
        stem: str = 'blocks',
        squeeze_excite: bool = True,
        blur: bool = True,
        last_gammas: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if stem == 'convs':
            self.space_to_depth = nn.Identity()
            self.conv1 = nn.Conv2d(
                self.in_channels, self.bn1.num_features, 7, 2, 3, bias=False
            )
            nn.init.kaiming_normal_(
                self.conv1.weight, mode='fan_out', nonlinearity='leaky_relu'
            )
            self.act = nn.Sequential(self.act, nn.MaxPool2d(3, 2, 1))
        for block in self.modules():
            if not isinstance(block, (BasicBlock, Bottleneck)):
                continue
            if not squeeze_excite:
                block.se = None
            if not blur and not isinstance(block.blur, nn.Identity):
                block.blur = nn.MaxPool2d(1, 2)  # of one pixel: the pixel
            last = block.bn2 if isinstance(block, BasicBlock) else block.bn3
            nn.init.constant_(last.weight, last_gammas)
