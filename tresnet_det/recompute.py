"""A 1x1 conv and its norm whose maps are computed again in backward.

The widest maps of a Bottleneck are the output of its last conv and the sum
after the norm.  The norm needs the former in backward; it is computed again
from the conv's input, which is narrower by four.
"""
from typing import Any, Optional, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .abn import InPlaceABN
from .abn_functional import batch_norm, batch_norm_backward
from .abn_sync import Group

__all__ = ['gated_conv_norm']


class _GatedConvNorm(torch.autograd.Function):
    """batch_norm(conv1x1(x * gate)); keeps x and gate."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Optional[Tensor], kernel: Tensor,
                weight: Optional[Tensor], bias: Optional[Tensor],
                running_mean: Optional[Tensor],
                running_var: Optional[Tensor], training: bool,
                momentum: float, eps: float, group: Group) -> Tensor:
        out = F.conv2d(x if gate is None else x * gate, kernel)
        ctx.dtype = out.dtype  # autocast is over when backward runs
        out, mean, invstd = batch_norm(out, weight, bias, running_mean,
                                       running_var, training, momentum, eps,
                                       group)
        ctx.save_for_backward(x, gate, kernel, weight, mean, invstd)
        ctx.training, ctx.group = training, group
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tuple[Optional[Tensor], ...]:
        x, gate, kernel, weight, mean, invstd = ctx.saved_tensors
        gated = (x if gate is None else x * gate).to(ctx.dtype)
        low_kernel = kernel.to(ctx.dtype)
        scale = torch.ones_like(invstd) if weight is None else weight
        dout, dweight, dbias = batch_norm_backward(
            grad, F.conv2d(gated, low_kernel), mean, invstd,
            scale.to(invstd.dtype), ctx.training,
            (any(ctx.needs_input_grad[:3]), *ctx.needs_input_grad[3:5]),
            ctx.group)
        dx = dgate = dkernel = None
        if dout is not None:
            dx, dkernel, _ = torch.ops.aten.convolution_backward(
                dout, gated, low_kernel, None, [1, 1], [0, 0], [1, 1], False,
                [0, 0], 1, [any(ctx.needs_input_grad[:2]),
                            ctx.needs_input_grad[2], False])
        if dkernel is not None:
            dkernel = dkernel.to(kernel)
        if dx is not None and gate is not None:
            dgate = (dx * x).sum_to_size(gate.shape).to(gate)
            dx = dx * gate
        if dx is not None:
            dx = dx.to(x)
        return (dx, dgate, dkernel, dweight, dbias, *[None] * 6)


def gated_conv_norm(x: Tensor, gate: Optional[Tensor], conv: nn.Conv2d,
                    norm: InPlaceABN) -> Tensor:
    """norm(conv(x * gate)), with conv and product computed twice.

    Args:
        x: Map of shape (N, C, H, W).
        gate: Factors of shape (N, C, 1, 1), or None.
        conv: A 1x1 conv without bias.
        norm: A norm without activation.

    Returns:
        Map of shape (N, conv.out_channels, H, W).
    """
    if x.is_meta or torch.compiler.is_compiling() or (
            not torch.is_grad_enabled()):
        return norm(conv(x if gate is None else x * gate))
    return _GatedConvNorm.apply(x, gate, conv.weight, *norm.bind())
