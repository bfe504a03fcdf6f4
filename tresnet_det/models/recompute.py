"""A Bottleneck's gated 1x1 conv and norm, keeping less for backward.

The product of map and squeeze-and-excitation gate is always computed again in
backward: it costs one multiplication.  The conv's output, the widest map of
the block, which only the norm needs again, can be computed anew as well.
"""

from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .abn import InPlaceABN
from .abn_functional import activated_batch_norm, batch_norm, batch_norm_backward, plain
from .abn_sync import Group
from .derivatives import first_order_only

__all__ = ['gated_conv_norm']


class _GatedConvNorm(torch.autograd.Function):
    """batch_norm(conv1x1(x * gate)); keeps x, gate and, if asked, the conv."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gate: Tensor | None,
        kernel: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        training: bool,
        momentum: float,
        eps: float,
        group: Group,
        recompute: bool,
    ) -> Tensor:
        out = F.conv2d(x if gate is None else x * gate, kernel)
        ctx.dtype = out.dtype  # autocast is over when backward runs
        z, mean, invstd = batch_norm(
            out, weight, bias, running_mean, running_var, training, momentum, eps, group
        )
        ctx.save_for_backward(
            x, gate, kernel, weight, mean, invstd, None if recompute else out
        )
        ctx.training, ctx.group = training, group
        return z

    @staticmethod
    @first_order_only
    def backward(ctx: Any, saved: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gate, kernel, weight, mean, invstd, out = saved
        gated = (x if gate is None else x * gate).to(ctx.dtype)
        low_kernel = kernel.to(ctx.dtype)
        if out is None:
            out = F.conv2d(gated, low_kernel)
        scale = torch.ones_like(invstd) if weight is None else weight
        dout, dweight, dbias = batch_norm_backward(
            grad,
            out,
            mean,
            invstd,
            scale.to(invstd.dtype),
            ctx.training,
            (any(ctx.needs_input_grad[:3]), *ctx.needs_input_grad[3:5]),
            ctx.group,
        )
        dx = dgate = dkernel = None
        if dout is not None:
            dx, dkernel, _ = torch.ops.aten.convolution_backward(
                dout,
                gated,
                low_kernel,
                None,
                [1, 1],
                [0, 0],
                [1, 1],
                False,
                [0, 0],
                1,
                [any(ctx.needs_input_grad[:2]), ctx.needs_input_grad[2], False],
            )
        if dkernel is not None:
            dkernel = dkernel.to(kernel)
        if dx is not None and gate is not None:
            dgate = (dx * x).sum_to_size(gate.shape).to(gate)
            dx = dx * gate
        if dx is not None:
            dx = dx.to(x)
        return (dx, dgate, dkernel, dweight, dbias, *[None] * 7)


def gated_conv_norm(
    x: Tensor, gate: Tensor | None, conv: nn.Conv2d, norm: InPlaceABN, recompute: bool
) -> Tensor:
    """norm(conv(x * gate)), keeping neither product nor, if asked, conv.

    Args:
        x: Map of shape (N, C, H, W).
        gate: Factors of shape (N, C, 1, 1), or None.
        conv: A 1x1 conv without bias; its weight is read, it is not called.
        norm: A norm without activation.
        recompute: Compute the conv again in backward.

    Returns:
        Map of shape (N, conv.out_channels, H, W).
    """
    kernel, bound = conv.weight, norm.bind()
    weight, bias, group = bound[0], bound[1], bound[-1]
    if plain(group, x, gate, kernel, weight, bias):
        return activated_batch_norm(
            F.conv2d(x if gate is None else x * gate, kernel), *bound
        )
    return _GatedConvNorm.apply(x, gate, kernel, *bound, recompute)
