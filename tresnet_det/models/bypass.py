"""Tells where a block may use a module's weights in place of calling it.

In-place norms save memory by computing a norm together with its neighbour.
The modules are then not called.  Hooks, parametrisations (spectral_norm,
weight_norm, prune) and replaced modules live by the call, so where there is
one, or a compiler or a trace wants to see the modules, a block calls every
module as it would with batch norm.
"""

from typing import TypeGuard

import torch.nn as nn
from torch import Tensor
from torch.nn.modules import module as torch_module

from .abn import InPlaceABN, SyncInPlaceABN
from .layers import SpaceToDepth, SqueezeExcite
from .tracing import torch_operators_wanted

__all__ = ['may_bypass', 'norm_act']

# A subclass, a parametrised module included, may compute something else.
KNOWN = (
    InPlaceABN,
    SyncInPlaceABN,
    nn.AvgPool2d,
    nn.Conv2d,
    nn.Identity,
    nn.LeakyReLU,
    SpaceToDepth,
    SqueezeExcite,
)
HOOKS = (
    '_forward_hooks',
    '_forward_pre_hooks',
    '_backward_hooks',
    '_backward_pre_hooks',
)


def may_bypass(
    norm: nn.Module, *others: nn.Module | None, kernel: int = 1
) -> TypeGuard[InPlaceABN]:
    """Tell whether computing ``norm`` and ``others`` in one is unnoticed.

    Args:
        norm: Any norm, or what has been put in its place.
        others: What would be computed with it; a conv must have stride 1 and
            no bias, a pool be a shortcut's.
        kernel: Side of the conv's kernel, 1 or 3.
    """
    if not isinstance(norm, InPlaceABN) or torch_operators_wanted():
        return False
    if norm.activation != 'identity':
        return False
    if any(getattr(torch_module, f'_global{name}') for name in HOOKS):
        return False
    return all(m is None or _is_plain(m, kernel) for m in (norm, *others))


def _is_plain(module: nn.Module, kernel: int) -> bool:
    own = vars(module)
    return (
        type(module) in KNOWN
        and 'forward' not in own
        and own.get('_compiled_call_impl') is None
        and not any(own[name] for name in HOOKS)
        and _options(module) in (None, *_expected(kernel))
    )


def _options(module: nn.Module) -> tuple | None:
    names: tuple[str, ...]
    if isinstance(module, nn.Conv2d):
        names = ('kernel_size', 'stride', 'padding', 'dilation', 'groups', 'bias')
    elif isinstance(module, nn.AvgPool2d):
        names = ('kernel_size', 'stride', 'padding', 'ceil_mode', 'count_include_pad')
    else:
        return None
    return tuple(getattr(module, name) for name in names)


def _expected(kernel: int) -> tuple[tuple, tuple]:
    side, padding = (kernel, kernel), (kernel // 2, kernel // 2)
    return (side, (1, 1), padding, (1, 1), 1, None), (2, 2, 0, True, False)


def norm_act(norm: nn.Module, act: nn.LeakyReLU, x: Tensor) -> Tensor:
    """act(norm(x)), keeping one map for backward where that is unnoticed."""
    if may_bypass(norm, act):
        return norm.forward_activated(x, act.negative_slope)
    z = norm(x)
    if norm._backward_hooks or norm._backward_pre_hooks:
        z = z.clone()  # act may work in place, which those do not survive
    return act(z)
