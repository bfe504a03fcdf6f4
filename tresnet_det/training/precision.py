"""In which precision a training computes; bfloat16 on a CPU too."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

from ..common.errors import UserError

__all__ = ['Bfloat16OptimWrapper', 'asks_for_amp', 'autocast_of']


@OPTIM_WRAPPERS.register_module()
class Bfloat16OptimWrapper(OptimWrapper):
    """Trains under ``torch.autocast`` to bfloat16, on the model's device.

    bfloat16 has float32's exponents, so gradients do not vanish and nothing
    has to scale the loss. MMEngine's ``AmpOptimWrapper`` has a scaler and
    refuses a CPU. Weights, gradients and the optimizer stay in float32, and
    validation is computed in float32.

    Args:
        args, kwargs: Those of ``mmengine.optim.OptimWrapper``.

    Raises:
        UserError: On a CPU, in the forward pass: a map one pixel wide comes to a
            conv with stride, whose gradient torch would take from memory that
            nobody wrote (seen with torch 2.14).
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """As mmengine's, and forward passes within it are autocast."""
        device = next(model.parameters()).device.type
        watched = [] if device != 'cpu' else [*filter(_has_stride, model.modules())]
        hooks = [conv.register_forward_pre_hook(_refuse_narrow) for conv in watched]
        try:
            with super().optim_context(model), torch.autocast(device, torch.bfloat16):
                yield
        finally:
            for hook in hooks:
                hook.remove()


def _has_stride(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.stride[1] > 1
        and module.kernel_size[1] > 1
    )


def _refuse_narrow(conv: nn.Module, inputs: tuple[Tensor]) -> None:
    shape = tuple(inputs[0].shape)
    if shape[-1] == 1:
        raise UserError(
            f'a map of shape {shape} comes to {conv}: on a CPU torch computes a '
            'wrong gradient of such a conv in bfloat16. Train on larger images or '
            'with fewer levels (neck.num_outs), or in float32 (optim_wrapper.type '
            "= 'OptimWrapper')"
        )


def _is(optim_wrapper: Any, kind: type[OptimWrapper]) -> bool:
    """Whether a config's optimizer wrapper is of a class, however it names it."""
    if not isinstance(optim_wrapper, Mapping):
        return False
    given = optim_wrapper.get('type')
    given = OPTIM_WRAPPERS.get(given) if isinstance(given, str) else given
    return isinstance(given, type) and issubclass(given, kind)


def asks_for_amp(optim_wrapper: Any) -> bool:
    """Whether it is one of mmengine's, which work on a GPU only."""
    return _is(optim_wrapper, AmpOptimWrapper)


def autocast_of(optim_wrapper: Any, device: torch.device) -> torch.autocast:
    """The precision of forward passes under a config's optimizer wrapper.

    Args:
        optim_wrapper: Of the config, not built.
        device: Where the model is.
    """
    if _is(optim_wrapper, Bfloat16OptimWrapper):
        return torch.autocast(device.type, torch.bfloat16)
    dtype = optim_wrapper.get('dtype')
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype)
    # Without a dtype torch takes the one that it has for the device.
    return torch.autocast(device.type, dtype, enabled=asks_for_amp(optim_wrapper))
