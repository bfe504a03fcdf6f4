"""A head of a detector that a teacher's can stand in for: a dense one."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from mmdet.utils import reduce_mean
from torch import Tensor, nn

from ..losses import box_loss, sigmoid_divergence, softmax_divergence
from .apart import Seen, family_of, towers_of, watched
from .rows import decoded, dense, in_pixels

__all__ = ['Part', 'described']


@dataclass(frozen=True)
class Part:
    """A dense head.

    Attributes:
        path: Where it is in a model and in the model's config.
        name: Begins the names of its losses and adapters.
    """

    path: str
    name: str = ''

    def head(self, model: Any) -> Any:
        return reduce(getattr, self.path.split('.'), model)

    def family(self, model: Any) -> type | None:
        """What it computes as; None if a head like that cannot be shared."""
        return family_of(self.head(model))

    def adapters(self, head: Any, depth: int) -> list[str]:
        """Names of what may come between the student's layers and the rest."""
        towers = ('cls_', 'reg_') if len(towers_of(head)) > 1 else ('',)
        # One for both towers where they begin with the same maps.
        return [f'{self.name}{tower}adapter' for tower in towers[: 1 + bool(depth)]]

    @contextmanager
    def watched(self, model: Any, depth: int) -> Iterator[Seen]:
        with watched(self.head(model), depth) as seen:
            yield seen

    def told(self, teacher: Any, maps: Sequence[Tensor], seen: Seen) -> Sequence[Any]:
        """What the teacher finds in its own maps."""
        return self.head(teacher)(maps)

    def own(self, head: Any, seen: Seen) -> Sequence[Any]:
        """What the student's own head found."""
        return in_pixels(head, seen.outputs)

    def found(self, rest: nn.Module, rows: list[tuple[Tensor, ...]]) -> Sequence[Any]:
        """What the rest of a head finds in the student's."""
        return rest(rows)

    def losses(
        self,
        head: Any,
        found: Sequence[Any],
        told: Sequence[Any],
        seen: Seen,
        weights: Mapping[str, float],
        temperature: float,
    ) -> dict[str, Tensor]:
        """How much two heads' outputs disagree.

        Args:
            head: The student's own.
            found, told: Outputs for the student's maps and for the teacher's.
            seen: What passed the student's head.
            weights: Of ``cls`` and ``box``; with 0 nothing is computed.
            temperature: Of a softmax over classes.
        """
        images = len(seen.maps[0])
        # Padded otherwise, the maps have other sizes; they begin alike.
        sizes = [
            (min(a.shape[-2], b.shape[-2]), min(a.shape[-1], b.shape[-1]))
            for a, b in zip(told[0], seen.maps)
        ]
        target = dense(head, told, sizes)
        own = dense(head, found, sizes)
        # The teacher's best score says how much of an object is at a point.
        best = target.classes.sigmoid().amax(-1)
        count = reduce_mean(best.sum()).clamp(min=1.0)
        losses = {}
        if weights['cls']:
            losses['cls'] = sigmoid_divergence(own.classes, target.classes) / count
        if weights['box']:
            bins = getattr(head, 'reg_max', 0) + 1
            if bins > 1:
                loss = softmax_divergence(
                    own.boxes.view(-1, bins),
                    target.boxes.view(-1, bins),
                    weight=best.repeat_interleave(4) / 4,
                )
            else:
                loss = box_loss(
                    decoded(head, own, images), decoded(head, target, images), best
                )
            losses['box'] = loss / count
        return {name: weights[name] * loss for name, loss in losses.items()}

    def facts(self, model: Any) -> dict[str, Any]:
        """What must be equal in teacher and student, by its name in errors."""
        head = self.head(model)
        priors = head.prior_generator
        base = getattr(priors, 'base_anchors', None)
        return {
            'number of classes': head.num_classes,
            'levels': priors.num_levels,
            'strides': list(map(tuple, priors.strides)),
            'anchors': f'points, offset {priors.offset}'
            if base is None
            else [torch.as_tensor(level).tolist() for level in base],
            'coder of boxes': described(head.bbox_coder),
            'reg_max': getattr(head, 'reg_max', None),
            'sigmoid classes': bool(head.use_sigmoid_cls),
        }

    def unfit(self, model: Any) -> str:
        """Why no head like that can be shared; empty if it can."""
        if not self.head(model).use_sigmoid_cls:
            return (
                'use a softmax over classes; only dense heads with a sigmoid a class '
                '(use_sigmoid=True) can be shared'
            )
        return ''


def described(thing: Any) -> tuple[str, dict[str, Any]]:
    """Type and attributes, to compare."""
    return type(thing).__name__, {
        key: list(value) if isinstance(value, (list, tuple)) else value
        for key, value in vars(thing).items()
        if not key.startswith('_') and key != 'training'
    }
