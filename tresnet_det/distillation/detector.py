"""Head-sharing distillation of detectors, after arXiv:2201.06945."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from ..common.errors import UserError
from .checks import check_class_names, check_heads
from .heads import (
    Part,
    depth_of,
    family_of,
    parts_of,
    rest_of,
    shuffled,
    width_after,
)
from .heads.apart import Seen
from .inputs import as_prepared_by
from .student import Student, adapter, with_ratios
from .teacher import Teacher

__all__ = ['HeadSharing']


class _DetectorTeacher(Teacher):
    """One with heads that are lent out, whole or in part."""

    _lent: Mapping[Part, nn.Module] = {}  # noqa: RUF012  never changed in place

    def _use(self, model: BaseModel) -> None:
        super()._use(model)
        if self.shuffle_head:
            self._lent = {part: shuffled(part.head(model)) for part in parts_of(model)}

    def rest(self, part: Part, start: int) -> nn.Module:
        """A head from its layers number ``start`` on, see ``rest_of``."""
        whole = part.head(self.model)
        return rest_of(self._lent.get(part, whole), start)

    def weights(self) -> list[Tensor]:
        lent = [weight for head in self._lent.values() for weight in head.parameters()]
        return [*super().weights(), *lent]

    def on(self, device: torch.device) -> BaseModel:
        model = super().on(device)
        for head in self._lent.values():
            head.to(device)
        return model

    def __getstate__(self) -> dict:
        return dict(super().__getstate__(), _lent={})


class HeadSharing(Student):
    """A detector that learns from a teacher through its head.

    Its maps also pass the teacher's trained, frozen head, and what comes out
    is drawn to what the teacher finds in the same images. Its own head learns
    from the ground truth alone, as the two may contradict each other
    (arXiv:2306.11369). It is a plain detector in all else: its state dict,
    ``predict``, parameters. ``detector`` may have any backbone; its head must
    be that of FCOS, RetinaNet, ATSS or GFL, and so must the teacher's. Of two
    stages (Faster and Mask R-CNN) the RPN and the box head are shared, the
    latter where the student's own proposals are.

    Args:
        detector: Type of the plain detector, which gets all other fields.
        teacher: Arguments of ``Teacher``: config and checkpoint.
        share_from: How many layers of the student's own head come before the
            teacher's rest: 0 for the teacher's whole head, up to
            ``stacked_convs`` for its predictors alone, as in the paper. A head
            with fewer layers is shared from its predictors on.
        shared: Weights of what goes through the teacher's head, by default
            ``cls=0.4, box=0.75``.
        own: The same of the student's own head, by default 0. With
            ``shared=dict(cls=0, box=0)`` this is plain logit distillation.
        adapter: Put a trained 1x1 conv where student's and teacher's maps
            have other widths.
        temperature: Of the softmax over classes in a detector of two stages.
        fields: Those of the detector.

    Raises:
        UserError: An argument makes no sense; in training, the teacher cannot
            be read or does not fit.
    """

    def __init__(
        self,
        detector: str | type,
        teacher: Mapping[str, Any],
        share_from: int = 0,
        shared: Mapping[str, float] | None = None,
        own: Mapping[str, float] | None = None,
        adapter: bool = False,
        temperature: float = 4.0,
        **fields: Any,
    ) -> None:
        super().__init__(**fields)
        self.teacher = _DetectorTeacher(**teacher)
        self.share_from = share_from
        self.weights = {
            'shared': _weights('shared', shared, cls=0.4, box=0.75),
            'own': _weights('own', own, cls=0.0, box=0.0),
        }
        self.with_adapter = adapter
        self.shares = any(self.weights['shared'].values())
        self.distils = self.shares or any(self.weights['own'].values())
        self.temperature = temperature
        if share_from < 0:
            raise UserError(
                f'share_from is {share_from}; expected is how many layers of the '
                "student's head come before the teacher's rest, from 0"
            )
        if temperature <= 0:
            raise UserError(f'temperature is {temperature}; expected is above 0')
        if adapter and self.shares:
            self._add_adapters()

    def _depth(self, part: Part) -> int:
        """Layers of the student's own that come before a rest of the teacher's."""
        return min(self.share_from, depth_of(part.head(self)))

    def _add_adapters(self) -> None:
        """Known before training, as the optimiser must have them."""
        try:
            cfg = self.teacher.cfg.model
        except UserError:
            return  # told when a training starts; an evaluation needs no teacher
        own = [part for part in parts_of(self) if part.family(self)]
        for part in own if parts_of(cfg) == parts_of(self) else ():
            with (
                torch.device('meta'),
                DefaultScope.overwrite_default_scope(self.teacher.scope),
            ):
                theirs = MODELS.build(deepcopy(part.head(cfg)))
            head, depth = part.head(self), self._depth(part)
            if family_of(theirs) is None or depth > depth_of(theirs):
                continue  # for the check to tell
            given, wanted = (width_after(each, depth) for each in (head, theirs))
            if given != wanted:
                names = part.adapters(head, depth)
                for name, kind in zip(names, ('cls', 'box')):
                    between = adapter(given, wanted)
                    if len(names) > 1 and not self.weights['shared'][kind]:
                        # No loss depends on it: in a process group that would
                        # be waited for.
                        between.requires_grad_(False)
                    setattr(self, name, between)

    def check_teacher(self, classes: Sequence[str] | None = None) -> None:
        check_class_names(classes, self.teacher.classes)
        check_heads(
            self,
            self.teacher.model,
            self.share_from if self.shares else None,
            self.with_adapter,
        )
        self.checked = True

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Any]:
        """The plain detector's losses and the teacher's.

        Args:
            inputs: Images of shape (N, 3, H, W), as the student's preprocessor
                gives them.
            data_samples: Their boxes and sizes.

        Returns:
            The plain losses, ``loss_shared_cls``, ``loss_shared_box``,
            ``loss_own_cls``, ``loss_own_box`` where their weight is above 0,
            and the ratio of each to the sum of the plain ones. Of two stages
            ``loss_shared_rpn_cls``, ``loss_shared_roi_cls`` and so on.
        """
        if not self.distils:
            return self.task_loss(inputs, data_samples)
        self.check_when_first_used()
        parts = parts_of(self)
        with ExitStack() as stack:
            seen = [
                stack.enter_context(part.watched(self, self._depth(part)))
                for part in parts
            ]
            losses = self.task_loss(inputs, data_samples)
        distilled = self._distilled(inputs, data_samples, dict(zip(parts, seen)))
        return with_ratios(losses, distilled)

    def _distilled(
        self, inputs: Tensor, data_samples: list, seen: Mapping[Part, Seen]
    ) -> dict[str, Tensor]:
        teacher = self.teacher.on(inputs.device)
        with torch.no_grad():
            images = as_prepared_by(
                teacher.data_preprocessor,
                self.data_preprocessor,
                inputs,
                [sample.img_shape[:2] for sample in data_samples],
            )
            maps = teacher.extract_feat(images)
            told = {part: part.told(teacher, maps, each) for part, each in seen.items()}
        losses: dict[str, Tensor] = {}
        for kind, weights in self.weights.items():
            if not any(weights.values()):
                continue
            for part, each in seen.items():
                head = part.head(self)
                found = (
                    part.own(head, each) if kind == 'own' else self._shared(part, each)
                )
                compared = part.losses(
                    head, found, told[part], each, weights, self.temperature
                )
                for name, value in compared.items():
                    losses[f'loss_{kind}_{part.name}{name}'] = value
        return losses

    def _shared(self, part: Part, seen: Seen) -> Sequence[Any]:
        """What the rest of the teacher's head finds in the student's maps."""
        depth = self._depth(part)
        rows = seen.rows
        adapters = [
            getattr(self, name)
            for name in part.adapters(part.head(self), depth)
            if hasattr(self, name)
        ]
        if len(adapters) == 1:  # the same maps go to all towers
            rows = [(adapters[0](row[0]),) * len(row) for row in rows]
        elif adapters:
            rows = [tuple(a(each) for a, each in zip(adapters, row)) for row in rows]
        return part.found(self.teacher.rest(part, depth), rows)


def _weights(
    name: str, given: Mapping[str, float] | None, **default: float
) -> dict[str, float]:
    found = {**default, **(given or {})}
    if {*found} != {*default} or any(value < 0 for value in found.values()):
        raise UserError(
            f'{name} of HeadSharing is {given}; expected is a dict of weights '
            f'from 0 for {" and ".join(default)}, like {default}'
        )
    return found
