"""Heads taken apart: layers that a student may keep, and a rest.

Dense heads have a tower of convs for classes and one for boxes, an RPN and the
box head of a two-stage detector one for both. Predictors come after them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from ...training.seeding import fixed_draws

__all__ = [
    'Seen',
    'depth_of',
    'family_of',
    'rest_of',
    'rest_parts',
    'shuffled',
    'towers_of',
    'watched',
    'width_after',
]


@cache
def _families() -> dict[type, tuple[tuple[str, ...], ...]]:
    """Kinds of heads, and the lists of layers that make each of its towers."""
    # Late: it imports all of MMDetection's models.
    from mmdet.models.dense_heads import (
        ATSSHead,
        FCOSHead,
        GFLHead,
        RetinaHead,
        RPNHead,
    )
    from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead

    two = (('cls_convs',), ('reg_convs',))
    return {
        **dict.fromkeys((FCOSHead, RetinaHead, ATSSHead, GFLHead), two),
        RPNHead: (('rpn_conv',),),
        ConvFCBBoxHead: (('shared_convs', 'shared_fcs'),),
    }


def family_of(head: Any) -> type | None:
    """Which kind a head computes as; None for one that is not known."""
    for family in _families():
        # Some of MMDetection's inherit and compute in another way.
        if isinstance(head, family) and all(
            getattr(type(head), name, None) is getattr(family, name, None)
            for name in ('forward', 'forward_single')
        ):
            return family
    return None


def _names(head: Any) -> tuple[tuple[str, ...], ...]:
    family = family_of(head)
    return () if family is None else _families()[family]


def _layers(module: nn.Module) -> list[nn.Module]:
    # An RPN of one conv has no list.
    return [*module] if isinstance(module, (nn.ModuleList, nn.Sequential)) else [module]


def towers_of(head: Any) -> list[list[nn.Module]]:
    """The layers of each tower; none for a head that is not known."""
    return [
        [layer for name in names for layer in _layers(getattr(head, name))]
        for names in _names(head)
    ]


def depth_of(head: Any) -> int:
    """How many layers come before the predictors, in the shorter tower."""
    return min(map(len, towers_of(head)))


def width_after(head: Any, depth: int) -> int:
    """Channels of what comes out of ``depth`` layers; 0 for the maps."""
    if depth == 0:
        return int(head.in_channels)
    layer: Any = towers_of(head)[0][depth - 1]
    is_linear = isinstance(layer, nn.Linear)
    return int(layer.out_features if is_linear else layer.out_channels)


# Running a head in two parts


class _Pick(nn.Module):
    """One of a row of maps."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, row: Sequence[Tensor]) -> Tensor:
        return row[self.index]


def rest_of(head: Any, start: int) -> nn.Module:
    """The part of a head from its layers number ``start`` on.

    It shares all weights with the head. In place of a map it takes a row of
    them, that of each tower.
    """
    rest = copy(head)
    rest._modules = dict(head._modules)
    for index, names in enumerate(_names(head)):
        first: list[nn.Module] = [_Pick(index)]
        left_out = start
        for name in names:
            module = head._modules[name]
            layers = _layers(module)
            kept = [*first, *layers[left_out:]]
            rest._modules[name] = (
                nn.ModuleList(kept)
                if isinstance(module, nn.ModuleList)
                else nn.Sequential(*kept)
            ).eval()
            first, left_out = [], max(0, left_out - len(layers))
        if 'shared_fcs' in names:
            rest.num_shared_convs = len(rest._modules['shared_convs'])
            # It comes before the fully connected layers, of which one has passed.
            rest.with_avg_pool = head.with_avg_pool and start <= len(head.shared_convs)
    return rest


def rest_parts(head: nn.Module, start: int) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a head, without its layers before ``start``, by name."""
    passed = {id(layer) for tower in towers_of(head) for layer in tower[:start]}
    for name, module in head.named_children():
        if isinstance(module, (nn.ModuleList, nn.Sequential)):
            inner = [(f'{name}.{key}', part) for key, part in module.named_children()]
        else:
            inner = [(name, module)]
        yield from ((key, part) for key, part in inner if id(part) not in passed)


def shuffled(head: Any) -> nn.Module:
    """A copy of a head in which the values of each weight are permuted."""
    head = deepcopy(head)
    with fixed_draws(0), torch.no_grad():
        for weight in head.parameters():
            order = torch.randperm(weight.numel()).to(weight.device)
            weight.copy_(weight.flatten()[order].view_as(weight))
    return head


# Watching a head at work


@dataclass
class Seen:
    """What passed a head in its last forward pass.

    Attributes:
        maps: What came in: of each level, or the only one.
        towers: What came out of as many layers as asked, by tower and level.
        outputs: What came out.
        rois: Where maps were cut out, of shape (K, 5), if they were.
    """

    maps: Sequence[Tensor] = ()
    towers: list[list[Tensor]] = field(default_factory=list)
    outputs: Sequence[Any] = ()
    rois: Tensor | None = None

    @property
    def rows(self) -> list[tuple[Tensor, ...]]:
        """What ``rest_of`` takes, of each level."""
        return list(zip(*self.towers))


@contextmanager
def watched(head: Any, depth: int) -> Iterator[Seen]:
    """Keeps what passes a head, so that nothing is computed twice: a batch
    norm in it would count each batch twice.

    Args:
        head: See ``family_of``.
        depth: After how many of its layers to look; 0 for the maps.
    """
    seen = Seen()
    towers = towers_of(head)

    def came(_: nn.Module, given: tuple) -> None:
        # Anew: a sampler that looks for hard examples runs the head before.
        seen.maps = [given[0]] if isinstance(given[0], Tensor) else given[0]
        seen.towers = [[] if depth else [*seen.maps] for _ in towers]

    def left(_: nn.Module, given: tuple, outputs: Any) -> None:
        seen.outputs = outputs

    def passed(index: int, layer: nn.Module, given: tuple, output: Tensor) -> None:
        # A fully connected layer has its ReLU outside.
        linear = isinstance(layer, nn.Linear)
        seen.towers[index].append(output.relu() if linear else output)

    handles = [
        head.register_forward_pre_hook(came),
        head.register_forward_hook(left),
    ]
    if depth:
        handles += [
            tower[depth - 1].register_forward_hook(partial(passed, index))
            for index, tower in enumerate(towers)
        ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
