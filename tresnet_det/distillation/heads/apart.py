"""Dense heads taken apart: FCOS, RetinaNet, ATSS, GFL.

All have a tower of convs for classes, ``cls_convs``, and one for boxes,
``reg_convs``, which every level's map passes, and predictors after them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..training.seeding import fixed_draws

__all__ = [
    'Dense',
    'Seen',
    'decoded',
    'dense',
    'family_of',
    'in_pixels',
    'rest_of',
    'shuffled',
    'watched',
]


def family_of(head: Any) -> type | None:
    """Which of the four a head computes as; None for any other."""
    # Late: it imports all of MMDetection's models.
    from mmdet.models.dense_heads import ATSSHead, FCOSHead, GFLHead, RetinaHead

    for family in (FCOSHead, RetinaHead, ATSSHead, GFLHead):
        # Some of MMDetection's inherit and compute in another way.
        if isinstance(head, family) and all(
            getattr(type(head), name) is getattr(family, name)
            for name in ('forward', 'forward_single')
        ):
            return family
    return None


# Running a head in two parts


class _Pick(nn.Module):
    """One of a pair of maps."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        return pair[self.index]


def rest_of(head: Any, start: int) -> nn.Module:
    """The part of a head from its convs number ``start`` on.

    It shares all weights with the head. Of each level it takes a pair of maps,
    that of the class tower and that of the box tower.
    """
    rest = copy(head)
    rest._modules = dict(head._modules)
    for index, tower in enumerate(('cls_convs', 'reg_convs')):
        rest._modules[tower] = nn.ModuleList(
            [_Pick(index), *head._modules[tower][start:]]
        ).eval()
    return rest


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
    """What passed a head in one forward pass, of each level.

    Attributes:
        maps: What came in.
        classes, boxes: Maps of the two towers after as many convs as asked.
        outputs: What came out.
    """

    maps: Sequence[Tensor] = ()
    classes: list[Tensor] = field(default_factory=list)
    boxes: list[Tensor] = field(default_factory=list)
    outputs: Sequence[Any] = ()

    @property
    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """What ``rest_of`` takes."""
        return list(zip(self.classes, self.boxes))


@contextmanager
def watched(head: Any, depth: int) -> Iterator[Seen]:
    """Keeps what passes a head, so that nothing is computed twice: a batch
    norm in it would count each batch twice.

    Args:
        head: Dense head.
        depth: After how many of its convs to look; 0 for the maps.
    """
    seen = Seen()

    def came(_: nn.Module, given: tuple) -> None:
        seen.maps = given[0]
        if depth == 0:
            seen.classes, seen.boxes = list(given[0]), list(given[0])

    def left(_: nn.Module, given: tuple, outputs: Any) -> None:
        seen.outputs = outputs

    handles = [
        head.register_forward_pre_hook(came),
        head.register_forward_hook(left),
    ]
    if depth:
        for tower, kept in (
            (head.cls_convs, seen.classes),
            (head.reg_convs, seen.boxes),
        ):
            handles.append(
                tower[depth - 1].register_forward_hook(
                    lambda module, given, output, kept=kept: kept.append(output)
                )
            )
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


# Outputs


@dataclass(frozen=True)
class Dense:
    """Outputs of a head at all points (or anchors) of a batch.

    Attributes:
        classes: Logits of shape (K, classes).
        boxes: What stands for a box, of shape (K, 4) or, for GFL,
            (K, 4 * bins).
        sizes: Height and width of each level.
    """

    classes: Tensor
    boxes: Tensor
    sizes: list[tuple[int, int]]


def in_pixels(head: Any, outputs: Sequence[Any]) -> Sequence[Any]:
    """FCOS with ``norm_on_bbox`` gives distances in strides while it trains,
    in pixels otherwise: here always in pixels."""
    if not (getattr(head, 'norm_on_bbox', False) and head.training):
        return outputs
    classes, boxes, *others = outputs
    return classes, [box * s for box, s in zip(boxes, head.strides)], *others


def dense(head: Any, outputs: Sequence[Any], sizes: Sequence[tuple[int, int]]) -> Dense:
    """A head's outputs in rows, as its own loss orders them.

    Args:
        head: Whose they are, or of a head like that.
        outputs: Class maps, box maps and what else there is, by level.
        sizes: Height and width that count of each level, from the top left;
            what lies beyond is padding.
    """
    width = outputs[1][0].shape[1] // head.num_base_priors
    rows = []
    for maps, channels in zip(outputs[:2], (head.cls_out_channels, width)):
        rows.append(
            torch.cat(
                [
                    level[..., :height, :columns]
                    .permute(0, 2, 3, 1)
                    .reshape(-1, channels)
                    for level, (height, columns) in zip(maps, sizes)
                ]
            )
        )
    return Dense(rows[0].float(), rows[1].float(), list(sizes))


def decoded(head: Any, found: Dense, images: int) -> Tensor:
    """Boxes (x1, y1, x2, y2) in pixels, of shape (K, 4); not for GFL."""
    priors = torch.cat(
        [
            level.repeat(images, 1)
            for level in head.prior_generator.grid_priors(
                found.sizes, dtype=found.boxes.dtype, device=found.boxes.device
            )
        ]
    )
    return head.bbox_coder.decode(priors, found.boxes)
