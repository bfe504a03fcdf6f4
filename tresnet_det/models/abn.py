"""The in-place activated batch norm as a module, alone and synchronised.

Parameters, buffers and their names are those of torch's BatchNorm: the same
state dict gives the same outputs here and in a batch norm followed by a leaky
ReLU.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..common.errors import UserError
from .abn_functional import activated_batch_norm, gated_batch_norm
from .abn_sync import Group
from .fold_guard import GuardedEps
from .tracing import torch_operators_wanted

__all__ = ['InPlaceABN', 'SyncInPlaceABN']

ACTIVATIONS = ('leaky_relu', 'identity')
Maybe = Tensor | None
Bound = tuple[Maybe, Maybe, Maybe, Maybe, bool, float, float, Group]


class Look(NamedTuple):
    """Channels that keep their input, and the state in which they do."""

    state: tuple
    kept: list[int]


def check_slope(slope: float) -> None:
    """Refuse a slope by which a leaky ReLU cannot be undone."""
    if not 0 < slope < float('inf'):
        raise ValueError(
            f'slope is {slope!r}, expected a finite number above 0: the '
            'activation is undone in backward, and a ReLU cannot be'
        )


class InPlaceABN(_BatchNorm):
    """Batch norm and activation that keep one map for backward, not two.

    It is a ``_BatchNorm``, so that code which looks for one finds it:
    norm_eval, weight decay, torch's update_bn and MMPretrain's PreciseBNHook.
    It is no ``BatchNorm2d``.  fvcore's update_bn_stats looks for that alone,
    changes nothing here and does not say so; tell it first:
    ``fvcore.nn.precise_bn.BN_MODULE_TYPES += (InPlaceABN,)``.

    What folds or converts a ``_BatchNorm`` would drop the activation.  With
    activation='identity', as all norms of a TResNet have, that is right;
    else it is refused.

    Args:
        num_features: Channels C of the map.
        eps: Added to the variance.
        momentum: Share of the new batch in the running statistics; None for
            the plain mean of all batches so far.
        affine: Learn gamma and beta.
        track_running_stats: Keep running statistics and use them in eval().
        activation: 'leaky_relu' or 'identity'.
        slope: The leaky ReLU's slope for negative values, above 0.

    The output is needed in backward: what follows must not change it in
    place.  In mmcv's ConvModule this means act_cfg=None, or torch raises an
    error in backward.

    In a trace, under a compiler and in torch.func it is torch's own batch norm
    and leaky ReLU.  torch.fx keeps the mode, train() or eval(), of the module
    that was traced.  torch.jit.script takes it in a TResNet, not alone.

    Shape:
        Input and output: (N, C, ...), two dimensions or more.

    Raises:
        ValueError: Unknown activation, a slope that is not above 0, an eps
            that is not above 0, or an input whose shape does not fit.
        RuntimeError: A second derivative through the activation.
        UserError: torch.jit.script of the norm alone.
    """

    eps = GuardedEps()
    _eps: float
    look: Look | None = None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        activation: str = 'leaky_relu',
        slope: float = 0.01,
        **factory_kwargs: Any,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(
                f'activation is {activation!r}, expected one of {ACTIVATIONS}'
            )
        check_slope(slope)
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, **factory_kwargs
        )
        self.activation = activation
        self.slope = slope

    def _check_input_dim(self, x: Tensor) -> None:
        if torch_operators_wanted():
            return  # they check, and in a trace a size is no number
        if x.dim() < 2 or x.shape[1] != self.num_features:
            raise ValueError(
                f'The input has shape {tuple(x.shape)}, expected '
                f'(N, {self.num_features}, ...)'
            )

    def bind(self) -> Bound:
        """The arguments of the functional form that follow the map.

        Counts the batch, as torch's BatchNorm does in its forward, and reads
        each parameter once: one that is parametrised is computed anew by
        every read.
        """
        eps = self._eps
        if not eps > 0:
            raise ValueError(f'eps is {eps!r}, but eps must be positive')
        momentum = 0.0 if self.momentum is None else self.momentum
        track = self.training and self.track_running_stats
        if track and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
        batch = self.training or self.running_mean is None
        stats = (
            (self.running_mean, self.running_var)
            if track or not batch
            else (None, None)
        )
        return (
            self.weight,
            self.bias,
            *stats,
            batch,
            momentum,
            eps,
            self._group(batch),
        )

    def _group(self, batch_statistics: bool) -> Group:
        return None

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_activated(
            x, self.slope if self.activation == 'leaky_relu' else None
        )

    def forward_activated(self, x: Tensor, slope: float | None) -> Tensor:
        """The norm and a leaky ReLU of ``slope``, keeping one map.

        So a network can have norms without activation, which may be folded
        and converted, and save memory all the same.
        """
        self._check_input_dim(x)
        bound, kept = self.bind(), None
        if self.look is not None and slope is not None:
            state = self.look_state(bound[0], bound[1], slope, x.dtype)
            kept = self.look.kept if self.look.state == state else None
        return activated_batch_norm(x, *bound, slope, kept)

    def is_undone(self) -> bool:
        """Whether a backward computes the input from the output."""
        batch = self.training or self.running_mean is None
        return batch or (self.weight is not None and self.weight.requires_grad)

    @staticmethod
    def look_state(
        weight: Maybe, bias: Maybe, slope: float, dtype: torch.dtype
    ) -> tuple:
        """All on which it depends which channels keep their input."""
        tensors = [(t.data_ptr(), t._version) for t in (weight, bias) if t is not None]
        return (slope, dtype, *tensors)

    def forward_gated(self, x: Tensor, gate: Callable[[Tensor], Tensor]) -> Tensor:
        """The norm's output times ``gate`` of it, keeping ``x`` alone.

        For a norm without activation whose output is read twice, as by
        squeeze-and-excitation.
        """
        self._check_input_dim(x)
        return gated_batch_norm(x, *self.bind(), gate)

    def __prepare_scriptable__(self) -> NoReturn:
        raise UserError(
            f'torch.jit.script cannot take a {type(self).__name__} alone. Use '
            'torch.jit.trace, or script the whole TResNet, or build this norm as '
            "type='BN' with a LeakyReLU after it, which takes the same weights"
        )

    def extra_repr(self) -> str:
        return (
            f'{super().extra_repr()}, activation={self.activation}, slope={self.slope}'
        )


class SyncInPlaceABN(InPlaceABN):
    """InPlaceABN whose training statistics are those of all processes.

    Batches may differ in size between processes.  Without an initialised
    process group it is an InPlaceABN.

    Args:
        process_group: The processes; None for all of them.  Other arguments
            as in InPlaceABN.
    """

    def __init__(
        self,
        *args: Any,
        process_group: 'dist.ProcessGroup | None' = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.process_group = process_group

    def _group(self, batch_statistics: bool) -> Group:
        if not (batch_statistics and dist.is_available() and dist.is_initialized()):
            return None
        group = self.process_group or dist.group.WORLD
        return group if dist.get_world_size(group) > 1 else None
