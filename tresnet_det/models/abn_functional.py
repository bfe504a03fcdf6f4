"""Activated batch norm that keeps its output instead of its input.

Source: "In-Place Activated BatchNorm for Memory-Optimized Training of DNNs",
arXiv:1712.02616, and the TResNet paper, arXiv:2003.13630, section 2.1.

A batch norm followed by an activation normally keeps two maps for backward:
its input x and its output y, which the next layer keeps anyway.  A leaky ReLU
and the affine part of the norm can be undone, so x need not be kept:

    y = act(gamma * xhat + beta)   =>   xhat = (act^-1(y) - beta) / gamma

This is again "subtract a mean, multiply by an inverse deviation", so the
backward of torch's own batch norm, given act^-1(y) as its input, beta as its
mean and 1 / gamma as its inverse deviation, returns the right gradients.  No
kernel of ours is needed, on any device and in any memory format.

Where rounding in y would be amplified too much (gamma small beside beta, or
a slope that underflows the dtype) the channel cannot be undone.  Such a
channel keeps its input; `recoverable` is the one rule that decides, and every
gradient is that of batch norm and activation, gamma 0 included.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .abn_sync import Group, combine_statistics, sum_over_group
from .derivatives import first_order_only
from .tracing import torch_operators_wanted

__all__ = [
    'activated_batch_norm',
    'batch_norm',
    'batch_norm_backward',
    'gated_batch_norm',
    'plain',
    'recoverable',
    'unrecoverable',
]

# A rounding error in y grows by 1 + |beta / gamma| when it is undone: at
# most this plus one.  Trained channels lie well below, dead ones far above.
MAX_AMPLIFICATION = 8.0
# Below this gamma, gamma ** 2 leaves the range of float32.
MIN_GAMMA = 1e-8


def recoverable(
    weight: Tensor, bias: Tensor, slope: float, dtype: torch.dtype
) -> Tensor:
    """Tell which channels of the input can be computed from the output.

    Args:
        weight: gamma, shape (C,).
        bias: beta, shape (C,).
        slope: slope of the leaky ReLU for negative values.
        dtype: type of the map y.

    Returns:
        Boolean tensor of shape (C,).
    """
    info = torch.finfo(dtype)
    # slope * z is stored to a multiple of the smallest subnormal number;
    # undone, that step should not exceed a rounding step of xhat.
    underflow = info.smallest_normal / slope  # = subnormal / (slope * eps)
    least = (bias.abs() / MAX_AMPLIFICATION).clamp(min=max(MIN_GAMMA, underflow))
    return weight.abs() >= least


def unrecoverable(
    norms: Sequence[tuple[Tensor | None, Tensor | None, float]], dtype: torch.dtype
) -> list[list[int]]:
    """The channels of each norm that keep their input, by one read of values.

    Args:
        norms: gamma and beta of shape (C,), or None for 1 and 0, and the slope.
        dtype: type of the maps y.
    """
    known = [
        (w, w.new_zeros(w.shape) if b is None else b, s)
        for w, b, s in norms
        if w is not None
    ]
    if not known:
        return [[] for _ in norms]
    masks = [~recoverable(weight, bias, slope, dtype) for weight, bias, slope in known]
    # The read: one device waits here.  A copy also where all is on the CPU.
    flags = torch.cat([m.to(masks[0].device) for m in masks]).to('cpu', copy=True)
    channels = iter(flags.split([len(m) for m in masks]))
    if not any(flags.tolist()):
        return [[] for _ in norms]
    return [
        [] if weight is None else next(channels).nonzero()[:, 0].tolist()
        for weight, _, _ in norms
    ]


def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    group: Group = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm over one process or over a group of processes.

    Args:
        x: Map of shape (N, C, ...).
        weight, bias: gamma and beta, shape (C,), or None for 1 and 0.
        running_mean, running_var: Statistics of shape (C,), updated in place
            in training; None to use batch statistics without a record.
        training: Use statistics of the batch, not the running ones.
        momentum: Share of the new statistics in the running ones.
        eps: Added to the variance.
        group: Process group whose batches are taken together, or None.

    Returns:
        The normalised map, and the mean and inverse deviation that were used,
        both of shape (C,) and at least float32.

    Raises:
        ValueError: Training with a single value per channel.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    if not training:
        assert running_mean is not None and running_var is not None
        z = F.batch_norm(x, running_mean, running_var, weight, bias, False, 0.0, eps)
        return (z, running_mean.to(dtype), (running_var.to(dtype) + eps).rsqrt())
    values = x.numel() // x.shape[1]
    if group is None:
        check_count(values, x)
        z, mean, invstd = torch.native_batch_norm(
            x, weight, bias, running_mean, running_var, True, momentum, eps
        )
        return z, mean.to(dtype), invstd.to(dtype)
    mean, var, count = combine_statistics(x, group)
    if values <= 1:  # only then look at the total: a device would have to wait
        check_count(int(count), x)
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.to(running_mean), momentum)
        running_var.lerp_((var * (count / (count - 1))).to(running_var), momentum)
    z = F.batch_norm(x, mean, var, _to(weight, mean), _to(bias, mean), False, 0.0, eps)
    return z, mean, (var + eps).rsqrt()


def _to(parameter: Tensor | None, like: Tensor) -> Tensor | None:
    """Statistics are at least float32, parameters may be half."""
    return None if parameter is None else parameter.to(like.dtype)


def check_count(count: int, x: Tensor) -> None:
    """Refuse batch statistics of a single value, as torch does, or none."""
    if count <= 1:
        raise ValueError(
            'Batch statistics need more than 1 value per channel in '
            f'training, but the input has shape {tuple(x.shape)}: use a '
            'larger batch or image, or put the norm into eval() '
            '(norm_eval=True)'
        )


def batch_norm_backward(
    grad: Tensor,
    source: Tensor,
    mean: Tensor,
    invstd: Tensor,
    scale: Tensor,
    training: bool,
    needs: tuple[bool, bool, bool],
    group: Group = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of a batch norm from any affine image of its input.

    Args:
        grad: Gradient of the loss by the normalised map, shape (N, C, ...).
        source: A map from which (source - mean) * invstd is xhat.
        mean, invstd: As just said, shape (C,); for the norm's own input they
            are its statistics.
        scale: Factor of shape (C,) by which invstd * scale is
            d(normalised map) / d(input) at fixed statistics.
        training: Statistics were those of the batch, so they are
            differentiated too.
        needs: Which of the three results are wanted.
        group: Process group whose batches were taken together, or None.

    Returns:
        Gradients by the norm's input, gamma and beta (None if not wanted).
    """
    if training and group is None:
        return torch.ops.aten.native_batch_norm_backward(
            grad, source, scale, None, None, mean, invstd, True, 0.0, list(needs)
        )
    sums = training or needs[1] or needs[2]
    if grad.numel():
        # With fixed statistics the CPU's kernel takes 1 / sqrt(variance),
        # which has no sign: move the sign of invstd into scale.  CUDA's
        # takes the saved deviation, and insists on being given one.
        sign = torch.where(invstd < 0, -1.0, 1.0).to(invstd.dtype)
        dx, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
            grad,
            source,
            scale * sign,
            mean,
            invstd.pow(-2),
            mean,
            invstd.abs(),
            False,
            0.0,
            [needs[0], sums, sums],
        )
        if sums:
            dweight = dweight * sign
    else:  # this process has no image, and the kernel would crash
        dx, dweight, dbias = grad, mean * 0, mean * 0
    if training and needs[0]:
        total_bias, total_weight, count = sum_over_group(
            dbias, dweight, grad.numel() // grad.shape[1], group
        )
        # dx -= invstd * scale * (sum(dz) + xhat * sum(dz * xhat)) / count
        factor = invstd * scale / count
        slope = factor * total_weight * invstd
        offset = slope * mean - factor * total_bias
        shape = [1, -1] + [1] * (grad.dim() - 2)
        dx = (dx - slope.view(shape) * source + offset.view(shape)).to(grad)
    return (
        dx if needs[0] else None,
        dweight if needs[1] else None,
        dbias if needs[2] else None,
    )


class _ActivatedBatchNorm(torch.autograd.Function):
    """leaky_relu(batch_norm(x)); keeps y, and x of unrecoverable channels."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        training: bool,
        momentum: float,
        eps: float,
        group: Group,
        slope: float,
        kept: list[int] | None,
    ) -> Tensor:
        y, mean, invstd = batch_norm(
            x, weight, bias, running_mean, running_var, training, momentum, eps, group
        )
        F.leaky_relu_(y, slope)
        gamma = torch.ones_like(invstd) if weight is None else weight
        beta = torch.zeros_like(mean) if bias is None else bias
        # At fixed statistics the input's gradient needs no value of the input.
        ctx.undone = training or ctx.needs_input_grad[1]
        if kept is None and ctx.undone:
            (kept,) = unrecoverable([(weight, bias, slope)], x.dtype)
        index = torch.tensor(kept, device=x.device) if kept and ctx.undone else None
        kept_x = None if index is None else x.index_select(1, index)
        ctx.save_for_backward(y, kept_x, index, gamma, beta, mean, invstd)
        ctx.training, ctx.slope, ctx.group = training, slope, group
        return y

    @staticmethod
    @first_order_only
    def backward(ctx: Any, saved: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, kept_x, kept, gamma, beta, mean, invstd = saved
        dtype = invstd.dtype
        gamma, beta = gamma.to(dtype), beta.to(dtype)
        grad = torch.ops.aten.leaky_relu_backward(grad, y, ctx.slope, True)
        source, source_mean, source_invstd, scale = y, mean, invstd, gamma
        if ctx.undone:
            source = F.leaky_relu(y, 1 / ctx.slope)  # the inverse is one, too
            source_mean, source_invstd = beta, 1 / gamma
            scale = gamma * gamma * invstd
        if kept is not None:
            source.index_copy_(1, kept, kept_x)
            source_mean, source_invstd, scale = (
                a.index_copy(0, kept, b[kept])
                for a, b in ((beta, mean), (source_invstd, invstd), (scale, gamma))
            )
        grads = batch_norm_backward(
            grad,
            source,
            source_mean,
            source_invstd,
            scale,
            ctx.training,
            ctx.needs_input_grad[:3],
            ctx.group,
        )
        return (*grads, *[None] * 8)


class _BatchNorm(torch.autograd.Function):
    """batch_norm(x) over a process group; keeps x."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        training: bool,
        momentum: float,
        eps: float,
        group: Group,
    ) -> tuple[Tensor, Tensor, Tensor]:
        z, mean, invstd = batch_norm(
            x, weight, bias, running_mean, running_var, training, momentum, eps, group
        )
        ctx.save_for_backward(x, weight, mean, invstd)
        ctx.training, ctx.group = training, group
        ctx.mark_non_differentiable(mean, invstd)
        return z, mean, invstd

    @staticmethod
    @first_order_only
    def backward(
        ctx: Any, saved: Any, grad: Tensor, *_: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, weight, mean, invstd = saved
        scale = torch.ones_like(invstd) if weight is None else weight
        grads = batch_norm_backward(
            grad,
            x,
            mean,
            invstd,
            scale.to(invstd.dtype),
            ctx.training,
            ctx.needs_input_grad[:3],
            ctx.group,
        )
        return (*grads, *[None] * 6)


class _Gate(torch.autograd.Function):
    """z * s for z = batch_norm(x); keeps x, which the norm keeps, not z."""

    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        s: Tensor,
        x: Tensor,
        mean: Tensor,
        invstd: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(s, x, mean, invstd, weight, bias)
        return z * s

    @staticmethod
    @first_order_only
    def backward(ctx: Any, saved: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        s, x, mean, invstd, weight, bias = saved
        ds = None
        if ctx.needs_input_grad[1]:
            ds = _gate_gradient(grad, s, x, mean, invstd, weight, bias)
        return (grad * s, ds, *[None] * 5)


def _gate_gradient(
    grad: Tensor,
    s: Tensor,
    x: Tensor,
    mean: Tensor,
    invstd: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
) -> Tensor:
    """The sum of grad * z for z = batch_norm(x), in the shape of ``s``."""
    if s.shape != (*x.shape[:2], 1, 1) or x.dtype not in (torch.float32, torch.float64):
        z = F.batch_norm(
            x, mean, invstd.pow(-2), _to(weight, mean), _to(bias, mean), False, 0.0, 0.0
        )
        return (grad * z).sum_to_size(s.shape)
    # z is scale * (x - mean) + bias. Centred, the sum does not cancel.
    scale = invstd if weight is None else invstd * weight
    ds = (grad * (x - mean[:, None, None])).sum_to_size(s.shape)
    ds = ds * scale[:, None, None]
    return ds if bias is None else ds + grad.sum_to_size(s.shape) * bias[:, None, None]


def plain(group: Group, *tensors: Tensor | None) -> bool:
    """Tell whether torch's own operators do as well as ours.

    So it is without gradients, where nothing is kept, under a compiler and
    in a trace, and where there are no values: on the meta device and in an
    empty batch.
    """
    if group is not None or torch_operators_wanted():
        return group is None
    learns = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in tensors
    )
    return not learns or any(
        t is not None and (t.is_meta or not t.numel()) for t in tensors
    )


def activated_batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    group: Group = None,
    slope: float | None = None,
    kept: list[int] | None = None,
) -> Tensor:
    """Batch norm and leaky ReLU; keeps one map for backward.

    Without a slope the input is kept, as by torch's own batch norm, which is
    used: the output of a norm that feeds a sum is kept by nobody, so this
    costs the same and has nothing to undo.

    Args:
        slope: Slope of the leaky ReLU for negative values, above 0, or None
            for no activation.  For the others see `batch_norm`.
        kept: What `unrecoverable` says of this norm; None to ask it here.

    Returns:
        Map of the shape, dtype and memory format of ``x``.

    Raises:
        ValueError: Training with a single value per channel.
    """
    if group is None and (slope is None or plain(group, x, weight, bias)):
        if training and not torch_operators_wanted() and x.numel() == x.shape[1]:
            check_count(1, x)
        z = F.batch_norm(
            x, running_mean, running_var, weight, bias, training, momentum, eps
        )
        if slope is None:
            return z
        return F.leaky_relu(z, slope, not (torch_operators_wanted() or z.requires_grad))
    args = (x, weight, bias, running_mean, running_var, training, momentum, eps, group)
    if slope is None:
        return _BatchNorm.apply(*args)[0]
    return _ActivatedBatchNorm.apply(*args, slope, kept)


def gated_batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    group: Group,
    gate: Callable[[Tensor], Tensor],
) -> Tensor:
    """z * gate(z) for z = batch_norm(x); keeps x alone for backward.

    Args:
        gate: Gives a factor that broadcasts to z and is cheap to keep, such
            as squeeze-and-excitation's.  For the others see `batch_norm`.

    Returns:
        Map of the shape of ``x``.

    Raises:
        ValueError: Training with a single value per channel.
    """
    if plain(group, x, weight, bias):
        z = F.batch_norm(
            x, running_mean, running_var, weight, bias, training, momentum, eps
        )
        return z * gate(z)
    z, mean, invstd = _BatchNorm.apply(
        x, weight, bias, running_mean, running_var, training, momentum, eps, group
    )
    return _Gate.apply(z, gate(z), x, mean, invstd, weight, bias)
