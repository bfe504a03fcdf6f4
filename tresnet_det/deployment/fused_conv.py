"""A conv and its activation in one pass over the map, for inference on a CPU.

oneDNN, which computes torch's convs there, can apply the activation to what is
still in the cache, and reads weights fastest in an order of its own. torch's
compiler asks for both by the operators below (torch/_inductor/mkldnn_lowerings.py);
without a compiler nobody else does.
"""

from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..models.tracing import torch_operators_wanted

__all__ = ['FusedConv', 'as_fused']


class FusedConv(nn.Conv2d):
    """A conv and the LeakyReLU after it.

    One operator for a float32 map on a CPU; torch's own conv and activation
    elsewhere, for gradients, under autocast, in compilers, traces and exports.

    Attributes:
        slope: Of the LeakyReLU; None is no activation.

    Shape:
        As nn.Conv2d's.
    """

    slope: float | None = None
    _packed: tuple[Any, Tensor | None] = (None, None)  # for what, and the weight

    @classmethod
    def of(cls, conv: nn.Conv2d, slope: float | None = None) -> 'FusedConv':
        """The conv, whose tensors it shares, and an activation after it."""
        fused = cls.__new__(cls)
        fused.__dict__ = dict(vars(conv), slope=slope)
        return fused

    def forward(self, x: Tensor) -> Tensor:
        if not _fusible(x) or self.weight.dtype != x.dtype:
            x = super().forward(x)
            return x if self.slope is None else F.leaky_relu_(x, self.slope)
        act = ('none', []) if self.slope is None else ('leaky_relu', [self.slope])
        return torch.ops.mkldnn._convolution_pointwise(
            x, self._weight_for(x), self.bias, *self._geometry, *act, ''
        )

    @property
    def _geometry(self) -> tuple[Any, ...]:
        return self.padding, self.stride, self.dilation, self.groups

    def _weight_for(self, x: Tensor) -> Tensor:
        """The weight, in oneDNN's order from the second map of one size on.

        The order hangs on the size, and to bring a weight into it costs more than
        it saves once: images of ever other sizes go without.
        """
        weight = self.weight.detach()
        if weight.is_inference():  # does not tell whether it was changed
            return weight
        key = x.shape, weight.data_ptr(), weight._version
        known, packed = self._packed  # read once: threads may share the module
        if known != key:
            self._packed = key, None
            return weight
        if packed is None:
            packed = torch._C._nn.mkldnn_reorder_conv2d_weight(
                weight.to_mkldnn(),
                *self._geometry,
                x.shape,  # type: ignore[call-arg]  # its stub lacks the size
            )
            self._packed = key, packed
        return packed

    def __getstate__(self) -> dict[str, Any]:
        # What is packed can be neither copied nor saved.
        return {k: v for k, v in super().__getstate__().items() if k != '_packed'}


def as_fused(x: Tensor) -> Tensor:
    """The map in the format in which `FusedConv` is fast, if it will be one operator.

    Args:
        x: Map of shape (N, C, H, W).

    Returns:
        The same values, channels-last or as they came.
    """
    return x.contiguous(memory_format=torch.channels_last) if _fusible(x) else x


def _fusible(x: Tensor) -> bool:
    return (
        not torch_operators_wanted()
        and type(x) is Tensor
        and x.device.type == 'cpu'
        and x.dtype == torch.float32
        and x.numel() > 0
        and not (torch.is_grad_enabled() and x.requires_grad)
        and not _autocast()
        # Modes count operators by their names, or compute without values.
        and not torch._C._len_torch_dispatch_stack()
        and bool(torch.backends.mkldnn.enabled)
        and hasattr(torch.ops.mkldnn, '_convolution_pointwise')
    )


def _autocast() -> bool:
    try:
        return torch.is_autocast_enabled('cpu')
    except TypeError:  # torch 2.1
        return torch.is_autocast_cpu_enabled()
