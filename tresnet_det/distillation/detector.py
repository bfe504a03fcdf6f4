"""Head-sharing distillation of dense detectors, after arXiv:2201.06945."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.utils import reduce_mean
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from ..common.errors import UserError
from .checks import check_class_names, check_heads, widths
from .heads import (
    Dense,
    Seen,
    decoded,
    dense,
    in_pixels,
    rest_of,
    shuffled,
    watched,
)
from .inputs import as_prepared_by
from .losses import box_loss, sigmoid_divergence, softmax_divergence
from .student import Student, adapter, with_ratios
from .teacher import Teacher

__all__ = ['HeadSharing']


class _DetectorTeacher(Teacher):
    """One with a dense head that is lent out, whole or in part."""

    _lent: nn.Module | None = None

    def _use(self, model: BaseModel) -> None:
        super()._use(model)
        if self.shuffle_head:
            self._lent = shuffled(model.bbox_head)

    def rest(self, start: int) -> nn.Module:
        """The head from its convs number ``start`` on, see ``rest_of``."""
        whole = self.model.bbox_head
        return rest_of(self._lent or whole, start)

    def weights(self) -> list[Tensor]:
        own = super().weights()
        return own if self._lent is None else [*own, *self._lent.parameters()]

    def on(self, device: torch.device) -> BaseModel:
        model = super().on(device)
        if self._lent is not None:
            self._lent.to(device)
        return model

    def __getstate__(self) -> dict:
        return dict(super().__getstate__(), _lent=None)


class HeadSharing(Student):
    """A detector of one stage that learns from a teacher through its head.

    Its maps also pass the teacher's trained, frozen head, and what comes out
    is drawn to what the teacher finds in the same images. Its own head learns
    from the ground truth alone, as the two may contradict each other
    (arXiv:2306.11369). It is a plain detector in all else: its state dict,
    ``predict``, parameters. ``detector`` may have any backbone; its head must
    be that of FCOS, RetinaNet, ATSS or GFL, and so must the teacher's.

    Args:
        detector: Type of the plain detector, which gets all other fields.
        teacher: Arguments of ``Teacher``: config and checkpoint.
        share_from: How many convs of the student's own head come before the
            teacher's rest: 0 for the teacher's whole head, up to
            ``stacked_convs`` for its predictors alone, as in the paper.
        shared: Weights of what goes through the teacher's head, by default
            ``cls=0.4, box=0.75``.
        own: The same of the student's own head, by default 0. With
            ``shared=dict(cls=0, box=0)`` this is plain logit distillation.
        adapter: Put a trained 1x1 conv where student's and teacher's maps
            have other widths.
        fields: Those of the detector.

    Raises:
        UserError: An argument makes no sense; in training, the teacher cannot
            be read or does not fit.
    """

    bbox_head: Any

    def __init__(
        self,
        detector: str | type,
        teacher: Mapping[str, Any],
        share_from: int = 0,
        shared: Mapping[str, float] | None = None,
        own: Mapping[str, float] | None = None,
        adapter: bool = False,
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
        if share_from < 0:
            raise UserError(
                f'share_from is {share_from}; expected is how many convs of the '
                "student's head come before the teacher's rest, from 0"
            )
        if adapter and self.shares:
            self._add_adapters()

    def _add_adapters(self) -> None:
        """Known before training, as the optimiser must have them."""
        cfg = self.teacher.cfg.model
        with (
            torch.device('meta'),
            DefaultScope.overwrite_default_scope(self.teacher.scope),
        ):
            head = MODELS.build(
                dict(
                    deepcopy(cfg.bbox_head),
                    train_cfg=deepcopy(cfg.get('train_cfg')),
                    test_cfg=deepcopy(cfg.get('test_cfg')),
                )
            )
        given, wanted = (
            widths(part, self.share_from) for part in (self.bbox_head, head)
        )
        if given != wanted:
            # One for both towers where they begin with the same maps.
            self.cls_adapter = adapter(given, wanted)
            if self.share_from:
                self.reg_adapter = adapter(given, wanted)

    def check_teacher(self, classes: Sequence[str] | None = None) -> None:
        model = self.teacher.model
        if not hasattr(model, 'bbox_head') or hasattr(model, 'roi_head'):
            raise UserError(
                f'the teacher is a {type(model).__name__}; expected is a '
                'detector of one stage, with a bbox_head like that of the '
                'student'
            )
        check_class_names(classes, self.teacher.classes)
        check_heads(
            self.bbox_head,
            model.bbox_head,
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
            and the ratio of each to the sum of the plain ones.
        """
        if not self.distils:
            return self.task_loss(inputs, data_samples)
        self.check_when_first_used()
        with watched(self.bbox_head, self.share_from) as seen:
            losses = self.task_loss(inputs, data_samples)
        return with_ratios(losses, self._distilled(inputs, data_samples, seen))

    def _distilled(
        self, inputs: Tensor, data_samples: list, seen: Seen
    ) -> dict[str, Tensor]:
        teacher = self.teacher.on(inputs.device)
        with torch.no_grad():
            images = as_prepared_by(
                teacher.data_preprocessor,
                self.data_preprocessor,
                inputs,
                [sample.img_shape[:2] for sample in data_samples],
            )
            told = teacher.bbox_head(teacher.extract_feat(images))
        # Padded otherwise, the maps have other sizes; they begin alike.
        sizes = [
            tuple(min(pair) for pair in zip(a.shape[-2:], b.shape[-2:]))
            for a, b in zip(told[0], seen.maps)
        ]
        target = dense(self.bbox_head, told, sizes)
        losses = {}
        if self.shares:
            found = self._through_teachers_head(teacher, seen)
            losses.update(self._compared('shared', found, target, len(inputs)))
        if any(self.weights['own'].values()):
            outputs = in_pixels(self.bbox_head, seen.outputs)
            losses.update(self._compared('own', outputs, target, len(inputs)))
        return losses

    def _through_teachers_head(self, teacher: nn.Module, seen: Seen) -> Sequence[Any]:
        pairs = seen.pairs
        if hasattr(self, 'cls_adapter'):
            if self.share_from:
                pairs = [(self.cls_adapter(c), self.reg_adapter(b)) for c, b in pairs]
            else:
                maps = [self.cls_adapter(level) for level, _ in pairs]
                pairs = list(zip(maps, maps))
        return self.teacher.rest(self.share_from)(pairs)

    def _compared(
        self, kind: str, outputs: Sequence[Any], target: Dense, images: int
    ) -> dict[str, Tensor]:
        """The losses between one head's outputs and the teacher's."""
        found = dense(self.bbox_head, outputs, target.sizes)
        # The teacher's best score says how much of an object is at a point.
        best = target.classes.sigmoid().amax(-1)
        count = reduce_mean(best.sum()).clamp(min=1.0)
        losses = {}
        weight = self.weights[kind]['cls']
        if weight:
            losses[f'loss_{kind}_cls'] = (
                weight * sigmoid_divergence(found.classes, target.classes) / count
            )
        weight = self.weights[kind]['box']
        if weight:
            bins = getattr(self.bbox_head, 'reg_max', 0) + 1
            if bins > 1:
                loss = softmax_divergence(
                    found.boxes.view(-1, bins),
                    target.boxes.view(-1, bins),
                    weight=best.repeat_interleave(4) / 4,
                )
            else:
                loss = box_loss(
                    decoded(self.bbox_head, found, images),
                    decoded(self.bbox_head, target, images),
                    best,
                )
            losses[f'loss_{kind}_box'] = weight * loss / count
        return losses


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
