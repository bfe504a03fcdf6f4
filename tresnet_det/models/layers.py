"""TResNet's fixed-function layers: space-to-depth, blur pool, squeeze-excite.

Source: TResNet, arXiv:2003.13630, sections 2.1 to 2.3; blur pool: "Making
Convolutional Networks Shift-Invariant Again", arXiv:1904.11486;
squeeze-and-excitation: arXiv:1709.01507.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.fx
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .derivatives import first_order_only
from .tracing import torch_operators_wanted

__all__ = ['BlurPool', 'SpaceToDepth', 'SqueezeExcite', 'conv_of_blocks']


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
        return space_to_depth(x, self.block)


@torch.fx.wrap
def space_to_depth(x: Tensor, block: int) -> Tensor:
    """See `SpaceToDepth`.

    A function that torch.fx leaves whole, since it looks at the format.
    """
    n, c, h, w = x.shape
    b = block
    channels_last = _is_channels_last(x)
    x = x.view(n, c, h // b, b, w // b, b)
    if channels_last:
        x = x.permute(0, 2, 4, 3, 5, 1)  # N, H/4, W/4, row, column, C
        return x.reshape(n, h // b, w // b, b * b * c).permute(0, 3, 1, 2)
    x = x.permute(0, 3, 5, 1, 2, 4)  # N, row, column, C, H/4, W/4
    return x.reshape(n, b * b * c, h // b, w // b)


def _is_channels_last(x: Tensor) -> bool:
    """False of what has both formats, as a map of one channel has."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


class _ConvOfBlocks(torch.autograd.Function):
    """conv3x3(space_to_depth(x)); keeps the image and not its copy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(x, kernel)
        out = F.conv2d(space_to_depth(x, SpaceToDepth.block), kernel, padding=1)
        ctx.dtype = out.dtype  # autocast is over when backward runs
        return out

    @staticmethod
    @first_order_only
    def backward(
        ctx: Any, saved: Any, grad: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        x, kernel = saved
        dblocks, dkernel, _ = torch.ops.aten.convolution_backward(
            grad,
            space_to_depth(x, SpaceToDepth.block).to(ctx.dtype),
            kernel.to(ctx.dtype),
            None,
            [1, 1],
            [1, 1],
            [1, 1],
            False,
            [0, 0],
            1,
            [*ctx.needs_input_grad, False],
        )
        dx = None
        if dblocks is not None:
            n, c, h, w = x.shape
            b = SpaceToDepth.block
            dx = dblocks.view(n, b, b, c, h // b, w // b).permute(0, 3, 4, 1, 5, 2)
            dx = torch.empty_like(x).copy_(dx.reshape(x.shape))
        return dx, None if dkernel is None else dkernel.to(kernel)


def conv_of_blocks(x: Tensor, kernel: Tensor) -> Tensor:
    """A 3x3 conv of `SpaceToDepth`'s blocks that keeps only the image.

    Args:
        x: Images of shape (N, C, H, W), H and W multiples of 4.
        kernel: Weight of shape (K, 16 * C, 3, 3).

    Returns:
        Map of shape (N, K, H / 4, W / 4).
    """
    return _ConvOfBlocks.apply(x, kernel)


def _depthwise_conv(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    return F.conv2d(x, weight.to(x), stride=2, padding=padding, groups=weight.shape[0])


@torch.fx.wrap
def blur(x: Tensor, weight: Tensor) -> Tensor:
    """The stride-2 depthwise conv of ``x``, reflected at the border.

    A function that torch.fx leaves whole, since it looks at sizes.

    Args:
        x: Map of shape (N, C, H, W), H and W at least 2.
        weight: BlurPool's filter, shape (C, 1, 3, 3).
    """
    if torch.jit.is_scripting():
        return _blur_of_any_size(x, weight)
    else:
        # Without values the plain form, which tools count, is as good.
        if torch_operators_wanted() or x.is_meta or not isinstance(x.shape[2], int):
            return _blur_of_any_size(x, weight)
        return _Blur.apply(x, weight)


def _blur_of_any_size(x: Tensor, weight: Tensor) -> Tensor:
    """The definition: the same operators whatever the size, as a graph needs."""
    return _depthwise_conv(F.pad(x, (1, 1, 1, 1), 'reflect'), weight, 0)


class _Blur(torch.autograd.Function):
    """The blur, which is linear: backward needs no map."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.size, ctx.dtype = x.shape[2:], x.dtype
        ctx.channels_last = _is_channels_last(x)
        return _blur_without_copy(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        # torch's own operators: they can be differentiated again, and batched.
        # A quarter: of [1, 2, 1] / 4 the lines below are twice, in two directions.
        height, width = ctx.size
        grad = _line_transposed(grad / 4, width, 3, ctx.channels_last)
        grad = _line_transposed(grad, height, 2, ctx.channels_last)
        return grad.to(ctx.dtype), None


def _line_transposed(grad: Tensor, size: int, dim: int, channels_last: bool) -> Tensor:
    """The transpose of the stride-2 filter [1, 2, 1] / 2 along one dimension.

    By slices: torch's gradient of a depthwise conv of stride 2 takes a multiple of
    the time on a CPU.

    Args:
        grad: Gradient by the blurred map.
        size: What the map measured before.
        dim: 2 or 3, along which it was blurred.
        channels_last: Whether the result is.
    """
    n, c, h, w = grad.shape
    h, w = (size, w) if dim == 2 else (h, size)
    out = (
        grad.new_empty(n, h, w, c).permute(0, 3, 1, 2)
        if channels_last
        else grad.new_empty(n, c, h, w)
    )
    g, lines = grad.transpose(0, dim), out.transpose(0, dim)
    half = g / 2
    count = (size - 1) // 2  # odd lines that have an even one on either side
    lines[::2] = g
    lines[1 : 2 * count : 2] = half[:count] + half[1 : count + 1]
    if size % 2 == 0:
        lines[-1] = half[-1]
    for to, of in _reflected(size):
        lines[of] += half[to]
    return out


def _blur_without_copy(x: Tensor, weight: Tensor) -> Tensor:
    """The zero-padded blur of the map, then what reflection adds at the border.

    That is read from single rows and columns: no padded copy is made.
    """
    out = _depthwise_conv(x, weight, 1)
    line = weight[:, :, 1] * 2  # [1, 2, 1] / 4
    for to, of in _reflected(x.shape[2]):
        row = F.pad(x[:, :, of], (1, 1), 'reflect')
        out[:, :, to] += _blur_line(row, line, 0)
    for to, of in _reflected(x.shape[3]):
        out[..., to] += _blur_line(x[..., of], line, 1)
    return out


def _blur_line(x: Tensor, line: Tensor, padding: int) -> Tensor:
    return F.conv1d(x, line.to(x) / 4, stride=2, padding=padding, groups=len(line))


def _reflected(size: int) -> list[tuple[int, int]]:
    """Pairs (output index, input index that reflection adds to it)."""
    return [(0, 1)] + ([(-1, size - 2)] if size % 2 else [])


class BlurPool(nn.Module):
    """Blur by the 3x3 binomial filter, reflect at the border, stride 2.

    The filter is no part of the state dict.  A module that comes from the
    meta device has it all the same, by to_empty() or by an assigned state
    dict.

    Shape:
        Input (N, C, H, W), H and W at least 2; output
        (N, C, ceil(H / 2), ceil(W / 2)).
    """

    weight: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer('weight', torch.empty(channels, 1, 3, 3), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fill in the filter, [1, 2, 1] / 4 in both directions."""
        # By these operators any kind of tensor can be filled on its device.
        self.weight.fill_(1 / 16)
        self.weight[:, :, 1] *= 2
        self.weight[..., 1] *= 2

    def _apply(self, fn: Callable[..., Tensor], recurse: bool = True) -> 'BlurPool':
        # to() cannot move what has no values, and to_empty() leaves none.
        before: Tensor | None = self.weight
        if self.weight.is_meta:
            self.weight, before = torch.empty_like(self.weight, device='cpu'), None
        super()._apply(fn, recurse)
        if self.weight is not before:  # the same may be in use by a thread
            self.reset_parameters()
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.is_meta and not x.is_meta:  # a state dict was assigned
            self.to(x.device)
        return blur(x, self.weight)


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
        """Factors of shape (N, C, 1, 1) between 0 and 1.

        The gradient by ``x`` is an expanded tensor of shape (N, C, H, W).
        """
        x = _mean_over_pixels(x)
        return self.fc2(F.relu(self.fc1(x), inplace=True)).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def _mean_over_pixels(x: Tensor) -> Tensor:
    """Shape (N, C, 1, 1)."""
    if torch_operators_wanted() or x.dtype not in (torch.float32, torch.float64):
        return x.mean((2, 3), keepdim=True)  # a sum leaves the range of float16
    # The same values; but the gradient of a sum is an expanded one, while mean()
    # writes a whole map of it.
    return x.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3])
