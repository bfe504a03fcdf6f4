"""TResNet for inference alone: norms in the convs, stem and blur as convs.

Every operator is one that exporters know, and no shape decides which of them
run, so a trace at one size is right at all sizes from 32x32 on.

Source: TResNet, arXiv:2003.13630, sections 2 and 3; folding of batch norm:
arXiv:1712.05877, section 3.2.
"""

from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..common.errors import UserError
from ..models.abn import InPlaceABN
from ..models.backbone import TResNet
from ..models.layers import BlurPool, SpaceToDepth
from ..models.network import BasicBlock, Bottleneck

__all__ = [
    'CONTAINERS',
    'DeployedTResNet',
    'ReplicatedPool',
    'UsualFormat',
    'activation_of',
    'folded_conv',
]


def folded_conv(conv: nn.Conv2d, norm: _BatchNorm) -> nn.Conv2d:
    """The conv that equals ``conv`` followed by ``norm`` in eval().

    The norm's activation is left out, see `activation_of`. Computed in
    float64, kept in the conv's dtype.

    Raises:
        UserError: The norm has no running statistics.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise UserError(
            f'a {type(norm).__name__} of {norm.num_features} channels has no running '
            'statistics and depends on the other images of a batch, so it cannot be '
            'folded into a conv; train with track_running_stats=True'
        )
    mean, var = norm.running_mean.double(), norm.running_var.double()
    scale = (var + float(norm.eps)).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    bias = torch.zeros_like(mean) if conv.bias is None else conv.bias.double()
    bias = (bias - mean) * scale
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    weight = conv.weight.double() * scale[:, None, None, None]
    return _conv(weight, bias, conv, conv.weight.dtype)


def _conv(weight: Tensor, bias: Tensor, like: Any, dtype: torch.dtype) -> nn.Conv2d:
    # On 'meta' nothing is drawn from the random numbers of the process.
    conv = nn.Conv2d(
        like.in_channels,
        like.out_channels,
        like.kernel_size,
        like.stride,
        like.padding,
        like.dilation,
        like.groups,
        padding_mode=like.padding_mode,
        device='meta',
    )
    conv.weight = nn.Parameter(weight.detach().to(dtype), requires_grad=False)
    conv.bias = nn.Parameter(bias.detach().to(dtype), requires_grad=False)
    return conv.eval()


def activation_of(norm: _BatchNorm) -> nn.Module:
    """What an in-place norm does after normalising; of others nothing."""
    if isinstance(norm, InPlaceABN) and norm.activation == 'leaky_relu':
        return nn.LeakyReLU(norm.slope)
    return nn.Identity()


def _activated(conv: nn.Conv2d, norm: _BatchNorm, act: nn.Module) -> nn.Sequential:
    """Folded conv and activation; ``act`` follows a norm that has none."""
    own = activation_of(norm)
    if isinstance(own, nn.Identity) and isinstance(act, nn.LeakyReLU):
        own = nn.LeakyReLU(act.negative_slope)
    if isinstance(own, nn.LeakyReLU):
        own.inplace = True  # nobody else has seen what the conv returns
    return nn.Sequential(folded_conv(conv, norm), own)


class _Stem(nn.Module):
    """Space-to-depth and 3x3 conv as one 12x12 conv of stride 4.

    The padding (4 before, 7 after) reaches the next multiple of 4 too: what
    lies beyond is never read.
    """

    def __init__(self, conv: nn.Conv2d, norm: _BatchNorm, act: nn.Module) -> None:
        super().__init__()
        small = folded_conv(conv, norm)
        block = SpaceToDepth.block
        out, _, rows, columns = small.weight.shape
        # Channels of the small conv: row in the block, column, input channel.
        weight = small.weight.view(out, block, block, -1, rows, columns)
        weight = weight.permute(0, 3, 4, 1, 5, 2)  # out, in, row, of it, column, of it
        weight = weight.reshape(out, -1, rows * block, columns * block)
        self.conv = nn.Conv2d(
            weight.shape[1], out, rows * block, stride=block, device='meta'
        )
        self.conv.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        self.conv.bias = small.bias
        own = activation_of(norm)
        self.act = act if isinstance(own, nn.Identity) else own

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(F.pad(x, (4, 7, 4, 7))))


class ReplicatedPool(nn.Module):
    """Average of 2x2, at an odd border of what is there.

    A border that stands twice has the average of standing once, and no size
    has to be rounded up, which exporters do in ways of their own.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (0, 1, 0, 1), 'replicate'), 2)


class UsualFormat(nn.Module):
    """The map not channels-last, as TResNet: mmcv's RoIAlign takes no other format."""

    def forward(self, x: Tensor) -> Tensor:
        return x.contiguous()


class _Block(nn.Module):
    """A residual block: convs, gate before the last conv or after it, sum."""

    def __init__(self, block: BasicBlock | Bottleneck) -> None:
        super().__init__()
        blur = [block.blur] if isinstance(block.blur, BlurPool) else []
        first = _activated(block.conv1, block.bn1, block.act)
        gate = [] if block.se is None else [block.se.requires_grad_(False).eval()]
        if isinstance(block, BasicBlock):
            last = folded_conv(block.conv2, block.bn2)
            self.residual = nn.Sequential(first, *blur, last, *gate)
        else:
            second = _activated(block.conv2, block.bn2, block.act)
            last = folded_conv(block.conv3, block.bn3)
            self.residual = nn.Sequential(first, second, *blur, *gate, last)
        shortcut = block.downsample
        self.shortcut = (
            nn.Identity()
            if shortcut is None
            else nn.Sequential(
                *([] if isinstance(shortcut.pool, nn.Identity) else [ReplicatedPool()]),
                folded_conv(shortcut.conv, shortcut.bn),
            )
        )
        # Not in place: `folding` would take what reads the result, which would be
        # the conv's tensor, for the conv's reader.
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.residual(x).add_(self.shortcut(x)))


def _stages(net: TResNet) -> tuple[Any, ...]:
    return net.stages


class DeployedTResNet(nn.Module):
    """A TResNet that only infers; made from one, whose modules it may take.

    Args:
        net: Its weights are folded; it must not be used afterwards.

    Shape:
        As TResNet's.
    """

    def __init__(self, net: TResNet) -> None:
        super().__init__()
        self.out_indices, self.out_channels = net.out_indices, net.out_channels
        self.stem = _Stem(net.conv1, net.bn1, net.act)
        self.stages = nn.ModuleList(
            nn.Sequential(*[_Block(block) for block in stage]) for stage in _stages(net)
        )
        self.usual_format = UsualFormat()
        self.eval()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(x)
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                outs.append(self.usual_format(x))
        return tuple(outs)


# The modules of a DeployedTResNet that do nothing but call others.
CONTAINERS = (DeployedTResNet, _Stem, _Block, nn.Sequential, nn.ModuleList)
