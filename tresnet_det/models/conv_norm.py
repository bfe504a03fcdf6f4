"""A 1x1 conv and its norm in one, whose backward can do without the conv's output.

The last norm of each residual block and of each shortcut has no activation.  It
normalises a = W g, the widest map of the block, which nobody else needs again.  All
that its backward wants of a are sums, and a is linear in the narrow map g:

    xhat = r (W g - mean)
    dgamma = sum(dz * xhat) = r * <W, P>,          P = sum(dz g^T), over all pixels
    dW = gamma r (P - dgamma r / m * W G),         G = sum(g g^T)
    dg = W^T (gamma r dz) - W^T diag(gamma r * dgamma r / m) W g

with g centred, r the inverse deviation and m the number of values in a channel; the
terms of dbeta are left out here.  P is what the conv's own backward computes.  With
running statistics dgamma / m and dbeta / m are 0 in dW and dg: then nothing is added
and the passes over a are saved.  With batch statistics, G and the last product cost
two narrow convs, and two products of W's size whatever the map's; where that is more
than the conv, a is computed again.  So it is in half precision, in which P is rounded
to so few digits that dW may be lost in it.
"""

from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .abn import InPlaceABN
from .abn_functional import activated_batch_norm, batch_norm, batch_norm_backward, plain
from .abn_sync import Group, sum_over_group
from .derivatives import first_order_only

__all__ = ['conv_norm']

# From this ratio of the conv's widths on, G costs no more than what it saves.
WIDENING = 8
Grads = tuple[Tensor | None, ...]


def _pooled(x: Tensor) -> Tensor:
    if not _pools_by_slices(x):
        return F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)
    upper, lower = x[:, :, ::2], x[:, :, 1::2]
    out = upper[..., ::2] + upper[..., 1::2]
    out += lower[..., ::2]
    out += lower[..., 1::2]
    out *= 0.25
    return out


def _pooled_backward(grad: Tensor, x: Tensor) -> Tensor:
    if not _pools_by_slices(x):
        return torch.ops.aten.avg_pool2d_backward(
            grad, x, [2, 2], [2, 2], [0, 0], True, False, None
        )
    grad = grad * 0.25
    out = grad.new_empty(x.shape)  # from the gradient, which may be a batch of them
    out[:, :, ::2, ::2] = grad
    out[:, :, ::2, 1::2] = grad
    out[:, :, 1::2] = out[:, :, ::2]
    return out


def _pools_by_slices(x: Tensor) -> bool:
    """On a CPU torch's pool takes four times as long as the same sums by slices.

    They are added in its order, so that the result is the same to the last bit;
    in half types it adds in float32.
    """
    height, width = x.shape[2:]
    return (
        x.device.type == 'cpu'
        and x.dtype in (torch.float32, torch.float64)
        and x.is_contiguous()
        and isinstance(height, int)
        and isinstance(width, int)
        and height % 2 == width % 2 == 0
    )


def _conv_backward(
    grad: Tensor, x: Tensor, kernel: Tensor, needs: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    dx, dkernel, _ = torch.ops.aten.convolution_backward(
        grad, x, kernel, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [*needs, False]
    )
    return dx, dkernel


class _ConvNorm(torch.autograd.Function):
    """batch_norm(conv1x1(pool(x) * gate)); keeps x, gate and perhaps the conv."""

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
        pool: bool,
        lean: bool,
    ) -> Tensor:
        g = _pooled(x) if pool else x
        out = F.conv2d(g if gate is None else g * gate, kernel)
        ctx.dtype = out.dtype  # autocast is over when backward runs
        z, mean, invstd = batch_norm(
            out, weight, bias, running_mean, running_var, training, momentum, eps, group
        )
        # Nothing is added with running statistics, and little where it widens.
        free = kernel.shape[0] >= WIDENING * kernel.shape[1] or not training
        free = free and _pays(kernel, out, training)
        kept = None if free or lean else out
        ctx.save_for_backward(x, gate, kernel, weight, mean, invstd, kept)
        ctx.training, ctx.group, ctx.pool = training, group, pool
        return z

    @staticmethod
    @first_order_only
    def backward(ctx: Any, saved: Any, grad: Tensor) -> Grads:
        x, gate, kernel, weight, mean, invstd, out = saved
        pooled = _pooled(x) if ctx.pool else x
        g = (pooled if gate is None else pooled * gate).to(ctx.dtype)
        needs = (any(ctx.needs_input_grad[:2]), *ctx.needs_input_grad[2:5])
        scale = torch.ones_like(invstd) if weight is None else weight.to(invstd.dtype)
        statistics = (mean, invstd, scale)
        if out is None and not _pays(kernel, grad, ctx.training):
            out = F.conv2d(g, kernel.to(ctx.dtype))
        if out is not None:
            dout, dweight, dbias = batch_norm_backward(
                grad,
                out,
                *statistics,
                ctx.training,
                (needs[0] or needs[1], *needs[2:]),
                ctx.group,
            )
            dg = dkernel = None
            if dout is not None:
                low = kernel.to(ctx.dtype)
                dg, dkernel = _conv_backward(dout, g, low, needs[:2])
        else:
            dg, dkernel, dweight, dbias = _backward_without_output(
                grad, g, kernel, *statistics, ctx.training, needs, ctx.group
            )
        if dkernel is not None:
            dkernel = dkernel.to(kernel)
        dgate = None
        if dg is not None and gate is not None:
            dgate = (dg * pooled).sum_to_size(gate.shape).to(gate)
            dg = dg * gate
        if dg is not None and ctx.pool:
            dg = _pooled_backward(dg.to(x), x)
        dx = None if dg is None else dg.to(x)
        return (dx, dgate, dkernel, dweight, dbias, *[None] * 8)


def _pays(kernel: Tensor, grad: Tensor, training: bool) -> bool:
    """Whether what is added costs less than the conv, and loses no digits."""
    if not training:
        return True
    if grad.dtype in (torch.float16, torch.bfloat16):
        return False
    values, (wide, narrow) = grad.numel() // grad.shape[1], kernel.shape[:2]
    return 2 * narrow * (values + wide) < wide * values


def _backward_without_output(
    grad: Tensor,
    g: Tensor,
    kernel: Tensor,
    mean: Tensor,
    invstd: Tensor,
    scale: Tensor,
    training: bool,
    needs: tuple[bool, ...],
    group: Group,
) -> Grads:
    """Gradients of batch_norm(conv1x1(g)), see above.

    Args:
        grad: Gradient by the normalised map, shape (N, C, H, W).
        g: The conv's input, shape (N, D, H, W).
        kernel: Its weight, shape (C, D, 1, 1).
        mean, invstd, scale: Statistics of its output and gamma, shape (C,).
        training: Statistics were those of the batch.
        needs: Which of the four results are wanted.
        group: Process group whose batches were taken together, or None.

    Returns:
        Gradients by g, kernel, gamma and beta.
    """
    dtype, dims = invstd.dtype, (0, 2, 3)
    count = grad.numel() // grad.shape[1]
    w = kernel.flatten(1).to(dtype)
    # Any centre will do, as rounded; without one the sums would cancel.
    total = g.sum(dims, dtype=dtype)
    centre = (total / max(count, 1)).to(g.dtype)
    g = g - centre[:, None, None]
    centre = centre.to(dtype)
    total = total - count * centre
    factor = scale * invstd
    scaled = factor[:, None] * w
    low = scaled.to(g.dtype)[:, :, None, None]
    dg, p = _conv_backward(grad, g, low, (needs[0], any(needs[:3])))
    dbias = grad.sum(dims, dtype=dtype)
    if p is None:
        return None, None, None, dbias if needs[3] else None
    p = p.flatten(1).to(dtype)
    shift = w @ centre - mean  # a - mean is w g + shift
    dweight = invstd * ((w * p).sum(1) + shift * dbias)
    dsum = dbias  # p and dsum become, but for factor, the sums of da g^T and of da
    if training and any(needs[:2]):
        if group is None:
            all_bias, all_weight, values = dbias, dweight, mean.new_full((), count)
        else:
            all_bias, all_weight, values = sum_over_group(dbias, dweight, count, group)
        # da = factor * (dz - constant - linear g)
        linear = (all_weight * invstd / values)[:, None] * w
        constant = all_bias / values + all_weight * invstd / values * shift
        if needs[1]:
            square = g.new_empty(g.shape[1], g.shape[1], 1, 1)
            gram = _conv_backward(g, g, square, (False, True))[1].flatten(1).to(dtype)
            p = p.addr(constant, total, alpha=-1).addmm_(linear, gram, alpha=-1)
            dsum = dbias - count * constant - linear @ total
        if needs[0]:
            product = (scaled.t() @ linear).to(g.dtype)[:, :, None, None]
            dg.sub_(F.conv2d(g, product, (scaled.t() @ constant).to(g.dtype)))
    if needs[1]:
        p = p.addr(dsum, centre).mul_(factor[:, None])[:, :, None, None]
    return (
        dg if needs[0] else None,
        p if needs[1] else None,
        dweight if needs[2] else None,
        dbias if needs[3] else None,
    )


def conv_norm(
    x: Tensor,
    conv: nn.Conv2d,
    norm: InPlaceABN,
    gate: Tensor | None = None,
    pool: bool = False,
    lean: bool = False,
) -> Tensor:
    """norm(conv(pool(x) * gate)), keeping neither what goes into the conv.

    What comes out of it is kept where that saves time.

    Args:
        x: Map of shape (N, C, H, W).
        conv: A 1x1 conv without bias; its weight is read, it is not called.
        norm: A norm without activation.
        gate: Factors of shape (N, C, 1, 1), or None.
        pool: Average 2x2 pixels first, as a shortcut does.
        lean: Never keep what comes out of the conv.

    Returns:
        Map of shape (N, conv.out_channels, H, W), H and W halved by the pool.
    """
    kernel, bound = conv.weight, norm.bind()
    weight, bias, group = bound[0], bound[1], bound[-1]
    if plain(group, x, gate, kernel, weight, bias):
        g = _pooled(x) if pool else x
        return activated_batch_norm(
            F.conv2d(g if gate is None else g * gate, kernel), *bound
        )
    return _ConvNorm.apply(x, gate, kernel, *bound, pool, lean)
