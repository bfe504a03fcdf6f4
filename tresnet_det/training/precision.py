"""Mixed precision without a loss scaler, on a CPU too."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

__all__ = ['Bfloat16OptimWrapper']


@OPTIM_WRAPPERS.register_module()
class Bfloat16OptimWrapper(OptimWrapper):
    """Trains under ``torch.autocast`` to bfloat16, on the model's device.

    bfloat16 has float32's exponents, so gradients do not vanish and nothing
    has to scale the loss. MMEngine's ``AmpOptimWrapper`` has a scaler and
    refuses a CPU. Weights, gradients and the optimizer stay in float32, and
    validation is computed in float32.

    Args:
        *args, **kwargs: Those of ``mmengine.optim.OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """As mmengine's, and forward passes within it are autocast."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
