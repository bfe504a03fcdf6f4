"""float16 for all of a detector's network but what its boxes hang on."""

from typing import Any

import torch
import torch.nn as nn
from mmcv.cnn import Scale

__all__ = ['halve']


def halve(net: nn.ModuleDict) -> None:
    """Gives backbone, neck and the heads' towers float16 weights, in place.

    The layers that predict, and the factors on what they predict, stay float32:
    they cost little, and float16 has 11 bits for a box of hundreds of pixels.
    Rounded, they moved APs of a small FCOS by 0.006.

    Args:
        net: With the modules 'backbone', 'neck' and heads, or some of them.
    """
    net.half()
    heads = [part for name, part in net.items() if name not in ('backbone', 'neck')]
    for child in (child for head in heads for child in head.children()):
        if isinstance(child, (nn.Conv2d, nn.Linear)):  # towers are ModuleLists
            child.float().register_forward_pre_hook(_as_float)
    for module in (module for head in heads for module in head.modules()):
        if isinstance(module, Scale):
            module.float()


def _as_float(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.float() if isinstance(x, torch.Tensor) else x for x in inputs)
