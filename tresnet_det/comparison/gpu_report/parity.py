"""A device's results beside the CPU's in float64, part by part.

A whole network with random weights says nothing in half precision: the gradient of
TResNet-M is then off by its own size with any norm (measured). So single norms and
blocks are compared, and the whole network in float32 alone.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import NamedTuple

import torch
import torch.nn as nn
from torch import Tensor

from ...models.abn import InPlaceABN, SyncInPlaceABN
from ...models.network import Network

__all__ = ['LIMITS', 'Parity', 'compare_with_cpu']

# Largest difference allowed, relative to the largest value of the CPU's result. Half
# types round each of some ten operations in a block to 8 or 11 bits: with plain batch
# norm a Bottleneck's gradients are off by 0.14 in bfloat16 on the CPU.
LIMITS = {torch.float32: 1e-3, torch.bfloat16: 0.25, torch.float16: 0.04}
NORMS = ('InPlaceABN', 'SyncInPlaceABN', 'BN')


class Parity(NamedTuple):
    """How far a part on the device is from the same part on the CPU.

    Attributes:
        part: What was compared.
        dtype: Type of the maps on the device; the CPU computes in float64.
        forward, gradient: Largest difference of outputs and of the gradients of inputs
            and parameters, each relative to the largest value of its tensor.
    """

    part: str
    dtype: torch.dtype
    forward: float
    gradient: float

    @property
    def holds(self) -> bool:
        # A difference that is not a number compares as False.
        limit = LIMITS[self.dtype]
        return self.forward <= limit and self.gradient <= limit


def _relative(found: Tensor, wanted: Tensor) -> float:
    difference = (found.detach().cpu().double() - wanted.detach()).abs().max()
    return (difference / wanted.detach().abs().max().clamp_min(1e-12)).item()


def _randomise(module: nn.Module) -> nn.Module:
    """Gammas of both signs, betas and running statistics that are not 0 and 1."""
    draw = torch.Generator().manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            shape = norm.weight.shape
            sign = torch.randint(0, 2, shape, generator=draw) * 2 - 1
            norm.weight.data = sign * (0.5 + torch.rand(shape, generator=draw))
            norm.bias.data = 0.1 * torch.randn(shape, generator=draw)
            assert norm.running_var is not None
            norm.running_var.uniform_(0.5, 1.5, generator=draw)
    return module


def _parts(width: int) -> Iterator[tuple[str, Callable[[], nn.Module], tuple, bool]]:
    """Name, module, shape of the input, whether half types make sense."""
    shape = (4, width, 12, 12)
    for training in (True, False):
        mode = 'training' if training else 'eval'
        for norm in (InPlaceABN, SyncInPlaceABN):
            yield (
                f'{norm.__name__}, {mode}',
                lambda norm=norm, t=training: norm(width).train(t),  # type: ignore
                shape,
                True,
            )
    arch = dict(depths=(1, 1, 1, 1), width=width)
    for kind in NORMS:
        whole = Network(arch, norm_cfg=dict(type=kind), norm_eval=False).train()
        yield f'BasicBlock, {kind}', lambda m=whole: m.layer1[0], shape, True  # type: ignore
        yield (
            f'Bottleneck, {kind}',
            lambda m=whole: m.layer3[0],  # type: ignore[misc]
            (4, 2 * width, 12, 12),
            True,
        )
        yield f'network, {kind}', lambda m=whole: m, (2, 3, 96, 96), False  # type: ignore


def compare_with_cpu(
    device: torch.device, dtypes: tuple[torch.dtype, ...], width: int = 64
) -> list[Parity]:
    """Outputs and gradients of norms, blocks and a small network.

    Args:
        device: Where the maps are of each of ``dtypes``.
        dtypes: float32, and half types, which run under autocast.
        width: Channels of the parts.
    """
    rows = []
    for part, build, shape, half_too in _parts(width):
        torch.manual_seed(0)
        cpu = _randomise(build()).double()
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).double()
        wanted = _outputs_and_gradients(deepcopy(cpu), x, None)
        for dtype in dtypes:
            if dtype != torch.float32 and not half_too:
                continue
            moved = deepcopy(cpu).float().to(device)
            half = None if dtype == torch.float32 else dtype
            found = _outputs_and_gradients(moved, x.float().to(device), half)
            errors = [
                max(_relative(a, b) for a, b in zip(of, like))
                for of, like in zip(found, wanted)
            ]
            rows.append(Parity(part, dtype, *errors))
    return rows


def _outputs_and_gradients(
    module: nn.Module, x: Tensor, half: torch.dtype | None
) -> tuple[list[Tensor], list[Tensor]]:
    x = x.clone().requires_grad_()
    with torch.autocast(x.device.type, half, enabled=half is not None):
        # A copy: what comes first may change its input in place, a leaf not.
        outputs = module(x.to(half or x.dtype, copy=True))
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    torch.stack([y.to(x.dtype).square().mean() for y in outputs]).sum().backward()
    parameters = [p.grad for p in module.parameters() if p.grad is not None]
    assert x.grad is not None
    return outputs, [x.grad, *parameters]
