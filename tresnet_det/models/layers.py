"""TResNet's fixed-function layers: space-to-depth, blur pool, squeeze-excite.

Source: TResNet, arXiv:2003.13630, sections 2.1 to 2.3; blur pool: "Making
Convolutional Networks Shift-Invariant Again", arXiv:1904.11486;
squeeze-and-excitation: arXiv:1709.01507.
"""

from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .tracing import torch_operators_wanted

__all__ = ['BlurPool', 'SpaceToDepth', 'SqueezeExcite']


class SpaceToDepth(nn.Module):
    """Move every 4x4 block of pixels into channels.

    Shape:
        Input (N, C, H, W), H and W multiples of 4; output
        (N, 16 * C, H / 4, W / 4), channels ordered by row in the block,
        column in the block, input channel, as the published weights expect.
        A channels-last input gives a channels-last output, any other one a
        contiguous one: the layers that follow keep the format.
    """

    block = 4

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        b = self.block
        last = torch.channels_last
        channels_last = x.is_contiguous(memory_format=last) and not x.is_contiguous()
        x = x.view(n, c, h // b, b, w // b, b)
        if channels_last:
            x = x.permute(0, 2, 4, 3, 5, 1)  # N, H/4, W/4, row, column, C
            return x.reshape(n, h // b, w // b, b * b * c).permute(0, 3, 1, 2)
        x = x.permute(0, 3, 5, 1, 2, 4)  # N, row, column, C, H/4, W/4
        return x.reshape(n, b * b * c, h // b, w // b)


class _DepthwiseConv(torch.autograd.Function):
    """Stride-2 depthwise conv with a fixed filter; keeps no map.

    It is linear in x and the filter is never learned, so backward needs only
    the filter.  F.conv2d would keep x all the same.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.dtype = x.shape, x.dtype
        return _depthwise_conv(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        dx = torch.ops.aten.convolution_backward(
            grad,
            grad.new_empty(1).expand(ctx.shape),
            weight.to(grad),
            None,
            [2, 2],
            [1, 1],
            [1, 1],
            False,
            [0, 0],
            ctx.shape[1],
            [True, False, False],
        )[0]
        return dx.to(ctx.dtype), None


def _depthwise_conv(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight.to(x), stride=2, padding=1, groups=len(weight))


class BlurPool(nn.Module):
    """Blur by the 3x3 binomial filter, reflect at the border, stride 2.

    Shape:
        Input (N, C, H, W), H and W at least 2; output
        (N, C, ceil(H / 2), ceil(W / 2)).
    """

    weight: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        weight = (line[:, None] * line).repeat(channels, 1, 1, 1)
        self.register_buffer('weight', weight, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        # Without gradients nothing is kept anyway.
        custom = torch.is_grad_enabled() and not torch_operators_wanted()
        conv = _DepthwiseConv.apply if custom else _depthwise_conv
        # The zero-padded blur of the whole map, then what reflection adds at
        # the border, which is read from single rows and columns: no padded
        # copy of the map is made.
        out = conv(x, self.weight)
        line = self.weight[:, :, 1] * 2  # [1, 2, 1] / 4
        for to, of in _reflected(x.shape[2]):
            row = F.pad(x[:, :, of], (1, 1), 'reflect')
            out[:, :, to] += self._blur_line(row, line, 0)
        for to, of in _reflected(x.shape[3]):
            out[..., to] += self._blur_line(x[..., of], line, 1)
        return out

    @staticmethod
    def _blur_line(x: Tensor, line: Tensor, padding: int) -> Tensor:
        return F.conv1d(x, line.to(x) / 4, stride=2, padding=padding, groups=len(line))


def _reflected(size: int) -> list[tuple[int, int]]:
    """Pairs (output index, input index that reflection adds to it)."""
    return [(0, 1)] + ([(-1, size - 2)] if size % 2 else [])


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate computed from the means of all.

    Args:
        channels: Channels C of the map.
        hidden: Width between the two layers of the gate.

    Shape:
        Input and output (N, C, H, W).
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def gate(self, x: Tensor) -> Tensor:
        """Factors of shape (N, C, 1, 1) between 0 and 1."""
        x = x.mean((2, 3), keepdim=True)
        return self.fc2(F.relu(self.fc1(x), inplace=True)).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)
