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
from .layers import SqueezeExcite
from .tracing import torch_operators_wanted

__all__ = ['may_bypass', 'norm_act']

# A subclass, a parametrised module included, may compute something else.
KNOWN = (InPlaceABN, SyncInPlaceABN, nn.Conv2d, nn.LeakyReLU, SqueezeExcite)
CONV_1X1 = ((1, 1), (1, 1), (0, 0), 1, None)
HOOKS = (
    '_forward_hooks',
    '_forward_pre_hooks',
    '_backward_hooks',
    '_backward_pre_hooks',
)


def may_bypass(norm: nn.Module, *others: nn.Module | None) -> TypeGuard[InPlaceABN]:
    """Tell whether computing ``norm`` and ``others`` in one is unnoticed.

    Args:
        norm: Any norm, or what has been put in its place.
        others: What would be computed with it; a conv must be a 1x1 conv
            without bias.
    """
    if not isinstance(norm, InPlaceABN) or torch_operators_wanted():
        return False
    if norm.activation != 'identity' or torch_module._has_any_global_hook():
        return False
    return all(m is None or _is_plain(m) for m in (norm, *others))


def _is_plain(module: nn.Module) -> bool:
    own = vars(module)
    return (
        type(module) in KNOWN
        and 'forward' not in own
        and own.get('_compiled_call_impl') is None
        and not any(own[name] for name in HOOKS)
        and (type(module) is not nn.Conv2d or _conv_options(module) == CONV_1X1)
    )


def _conv_options(conv: nn.Conv2d) -> tuple:
    return conv.kernel_size, conv.stride, conv.padding, conv.groups, conv.bias


def norm_act(norm: nn.Module, act: nn.LeakyReLU, x: Tensor) -> Tensor:
    """act(norm(x)), keeping one map for backward where that is unnoticed."""
    if may_bypass(norm, act):
        return norm.forward_activated(x, act.negative_slope)
    z = norm(x)
    if norm._backward_hooks or norm._backward_pre_hooks:
        z = z.clone()  # act may work in place, which those do not survive
    return act(z)
