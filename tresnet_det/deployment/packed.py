"""A folded TResNet for images of one size on a CPU, by oneDNN's own means.

oneDNN, which computes torch's convs there, can apply the activation to what is
still in the cache, and reads weights fastest in an order of its own, which depends
on the size of the map. torch's compiler asks for both by the operators below
(torch/_inductor/mkldnn_lowerings.py); without a compiler nobody else does.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from ..common.errors import UserError
from ..models.layers import SqueezeExcite
from ..models.tracing import torch_operators_wanted
from .deployed_tresnet import (
    CONTAINERS,
    DeployedTResNet,
    ReplicatedPool,
    UsualFormat,
)

__all__ = ['PackedTResNet', 'packed']

# Batches of one shape in a row before which packing does not pay: it takes what two
# or three small images save.
_IN_A_ROW = 3


def packed(model: nn.Module) -> nn.Module:
    """Makes every `DeployedTResNet` in a model a `PackedTResNet`, in place.

    Args:
        model: What `deployed` returned; the networks in it are taken over.

    Returns:
        The model, or what took its place.
    """
    if isinstance(model, DeployedTResNet):
        return PackedTResNet(model)
    for name, child in model.named_children():
        setattr(model, name, packed(child))
    return model


class PackedTResNet(nn.Module):
    """A `DeployedTResNet` that packs its weights when image sizes repeat.

    From the third batch of one shape in a row on, float32 on a CPU, conv and
    activation are one operator and weights lie in oneDNN's order, which takes their
    memory once more. Everything else is left to the network itself: other batches,
    gradients, autocast, other devices, traces and exports.

    The weights are fixed: they are neither parameters nor in the state dict, so that
    nothing can change them behind what was packed. For the same reason neither
    torch.fx nor torch.jit.script finds them: both take the network itself.

    Args:
        net: It is taken over.

    Shape:
        As TResNet's.
    """

    def __init__(self, net: DeployedTResNet) -> None:
        super().__init__()
        self.out_indices, self.out_channels = net.out_indices, net.out_channels
        self._net = (net,)  # in a tuple it is no submodule
        # The last shape, how often it came in a row, and the network packed for it.
        # One tuple: threads may share the module.
        self._last: tuple[Any, int, nn.Module | None] = (None, 0, None)
        self.eval()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        (net,) = self._net
        if not _by_onednn(x):
            return net(x)
        shape, count, fast = self._last
        count = count + 1 if shape == x.shape else 1
        if count < _IN_A_ROW:
            fast, outs = None, net(x)
        else:
            fast = _twin(net) if fast is None else fast
            outs = fast(x.contiguous(memory_format=torch.channels_last))
        # After it went well, and when its convs have been packed for this shape.
        self._last = x.shape, count, fast
        return outs

    def _apply(self, fn: Callable[..., Tensor], recurse: bool = True) -> Any:
        # to() and the like reach the network too.
        self._net[0]._apply(fn)
        self._last = (None, 0, None)
        return super()._apply(fn, recurse)

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        raise UserError(
            'a PackedTResNet has no state dict: its weights are folded, packed and '
            'fixed. Save the state dict of the model itself, or of deployed(model)'
        )

    def __getstate__(self) -> dict[str, Any]:
        # What is packed can be neither copied nor saved.
        return dict(super().__getstate__(), _last=(None, 0, None))


class _PackedConv(nn.Module):
    """A conv of channels-last maps and the LeakyReLU after it.

    Maps are expected to have the size of the first one. Others are right too, but slow.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.act: tuple[str, list[float]] = ('none', [])
        self.weight: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        geometry: Any = conv.padding, conv.stride, conv.dilation, conv.groups
        if self.weight is None:
            self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(
                conv.weight.detach().to_mkldnn(),
                *geometry,
                x.shape,  # type: ignore[call-arg]  # its stub lacks the size
            )
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, conv.bias, *geometry, *self.act, ''
        )


class _GateInPlace(nn.Module):
    """Squeeze-excite of a map that nobody else reads."""

    def __init__(self, gate: SqueezeExcite) -> None:
        super().__init__()
        self.se = gate

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(self.se.gate(x))


class _Copied(nn.Module):
    """A copy with the strides of a new tensor.

    contiguous() leaves a map of one pixel as it is, with strides by which torch
    makes what is computed from it channels-last.
    """

    def forward(self, x: Tensor) -> Tensor:
        out = x.new_empty(x.shape)
        for image, of in zip(out, x):  # transposed in two dimensions, which is faster
            image.flatten(1).copy_(of.flatten(1))
        return out


# What is known to compute the same in another way; of any other module, a subclass or
# one with a hook too, nothing is known.
_SAME: dict[type, Callable[[Any], nn.Module]] = {
    nn.Conv2d: _PackedConv,
    nn.ReLU: lambda relu: nn.ReLU(inplace=True),
    SqueezeExcite: _GateInPlace,
    ReplicatedPool: lambda pool: nn.AvgPool2d(
        2, ceil_mode=True, count_include_pad=False
    ),
    UsualFormat: lambda usual: _Copied(),
}


def _twin(module: nn.Module) -> nn.Module:
    """What computes the same without gradients, faster, with the same tensors."""
    if _is_plain(module) and type(module) in _SAME:
        return _SAME[type(module)](module)
    if type(module) not in CONTAINERS:
        return module
    twin = copy.copy(module)
    twin._modules = {}
    last = None
    for name, child in module.named_children():
        # In these networks a LeakyReLU that is registered after a conv follows it.
        # oneDNN's, with slope 0, makes 0 of NaN.
        if (
            type(last) is _PackedConv
            and type(child) is nn.LeakyReLU
            and _is_plain(child)
            and child.negative_slope
        ):
            last.act = 'leaky_relu', [child.negative_slope]
            child = nn.Identity()
        last = twin._modules[name] = _twin(child)
    return twin


def _is_plain(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d) and (
        module.padding_mode != 'zeros' or isinstance(module.padding, str)
    ):
        return False
    own = vars(module)
    return not ('forward' in own or own['_forward_hooks'] or own['_forward_pre_hooks'])


def _by_onednn(x: Tensor) -> bool:
    return (
        not torch_operators_wanted()
        and type(x) is Tensor
        and x.device.type == 'cpu'
        and x.dtype == torch.float32
        and x.dim() == 4
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
