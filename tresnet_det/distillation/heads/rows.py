"""Outputs of dense heads in rows: FCOS, RetinaNet, ATSS, GFL, RPN."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ['Dense', 'decoded', 'dense', 'in_pixels']


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
