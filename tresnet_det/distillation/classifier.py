"""Head-sharing distillation of classifiers, arXiv:2201.06945.

With z a student's embedding and g the teacher's classifier:

    gamma CE(p_s, y) + alpha KL_T(p_t || p_s) + beta KL_T(p_t || softmax g(z))

KL_T is T^2 / N times the sum of divergences at temperature T. Weights by
default are those that the authors' README gives (gamma 1, alpha 1.5, beta
.02); their code has T = 4. A classifier of margins (ArcFace) gives its
logits without the margin, as in inference.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..common.errors import UserError
from .checks import check_class_names
from .inputs import as_prepared_by
from .losses import softmax_divergence
from .student import Student, adapter, with_ratios
from .teacher import Teacher

__all__ = ['HeadSharingClassifier']

_HEADS = ('random', 'teacher', 'frozen')


class HeadSharingClassifier(Student):
    """A classifier of MMPretrain that learns through its teacher's head.

    TH-KD as it is; with ``beta=0`` plain distillation (arXiv:1503.02531);
    SH-KD with a teacher that was trained by ``SharedHead``.

    Args:
        teacher: Arguments of ``Teacher``: config and checkpoint.
        classifier: Type of the plain one, which gets all other fields.
        gamma, alpha, beta: Weights of the task, of the student's own head
            against the teacher's outputs, and of the teacher's head.
        temperature: T.
        own_head: What the student's own head begins with: 'random', 'teacher'
            for a copy of the teacher's, 'frozen' to keep that copy.
        adapter: Put a trained linear map between embeddings of other widths.
        fields: Those of the classifier.

    Raises:
        UserError: An argument makes no sense; in training, the teacher cannot
            be read or does not fit.
    """

    scope = 'mmpretrain'
    head: Any

    def __new__(cls, classifier: Any = 'ImageClassifier', **fields: Any) -> Any:
        return super().__new__(cls, detector=classifier)

    def __init__(
        self,
        teacher: Mapping[str, Any],
        classifier: str | type = 'ImageClassifier',
        gamma: float = 1.0,
        alpha: float = 1.5,
        beta: float = 0.02,
        temperature: float = 4.0,
        own_head: str = 'random',
        adapter: bool = False,
        **fields: Any,
    ) -> None:
        super().__init__(**fields)
        if own_head not in _HEADS:
            raise UserError(f'own_head is {own_head!r}; expected is one of {_HEADS}')
        if min(gamma, alpha, beta) < 0 or temperature <= 0:
            raise UserError(
                f'gamma, alpha, beta are {gamma}, {alpha}, {beta}, temperature is '
                f'{temperature}; expected are weights from 0 and a temperature '
                'above 0'
            )
        self.teacher = Teacher(**teacher)
        self.gamma, self.alpha, self.beta = gamma, alpha, beta
        self.temperature = temperature
        self.own_head = own_head
        self.with_adapter = adapter
        self.distils = bool(alpha or beta or own_head != 'random')
        if own_head == 'frozen':
            self.head.requires_grad_(False)
        if adapter and beta:
            self._add_adapter()

    def _add_adapter(self) -> None:
        try:
            theirs = self.teacher.cfg.model.head
        except UserError:
            return  # told when a training starts; an evaluation needs no teacher
        given, wanted = (int(part.in_channels) for part in (self.head, theirs))
        if given != wanted:
            self.adapter = adapter(given, wanted)

    def init_weights(self) -> None:
        super().init_weights()  # type: ignore[misc]
        self.take_head()
        self.checked = False  # what load_from brings comes after this

    def take_head(self, classes: Sequence[str] | None = None) -> None:
        if self.own_head != 'random':
            self.check_teacher(classes)
            theirs = self.teacher.model.head.state_dict()
            others = [
                f'{name}: student {tuple(value.shape)}, teacher '
                f'{tuple(theirs[name].shape) if name in theirs else "none"}'
                for name, value in self.head.state_dict().items()
                if name not in theirs or theirs[name].shape != value.shape
            ]
            if others:
                raise UserError(
                    "own_head cannot begin with the teacher's head:\n  "
                    + '\n  '.join(others)
                    + '\nChange the one in its config, or take another teacher'
                )
            self.head.load_state_dict(theirs)

    def check_teacher(self, classes: Sequence[str] | None = None) -> None:
        model = self.teacher.model
        check_class_names(classes, self.teacher.classes)
        heads: list[Any] = [self.head, getattr(model, 'head', None)]
        kinds = [_kind(head) for head in heads]
        if None in kinds or kinds[0] != kinds[1]:
            raise UserError(
                'a head can be shared between two classifiers that both have a '
                'LinearClsHead or an ArcFaceClsHead; student: '
                f'{type(heads[0]).__name__}, teacher: {type(heads[1]).__name__}'
            )
        widths = [head.in_channels for head in heads]
        shared = self.beta or self.own_head != 'random'
        adapted = self.with_adapter and self.own_head == 'random'
        for name, (own, other), needed in (
            ('number of classes', [head.num_classes for head in heads], True),
            (
                'channels of the embedding (adapter=True puts a linear map between)',
                widths,
                shared and not adapted,
            ),
        ):
            if needed and own != other:
                raise UserError(
                    'teacher and student do not fit:\n'
                    f'  {name}: student {own}, teacher {other}\n'
                    'Change the one in its config, or take another teacher'
                )
        self.checked = True

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Any]:
        """The classifier's losses times gamma, ``loss_own``, ``loss_shared``.

        Args:
            inputs: Images of shape (N, 3, H, W), as the student's preprocessor
                gives them.
            data_samples: Their labels.
        """
        if self.distils and not self.checked:
            self.check_when_first_used()
            if self.own_head == 'frozen':  # load_from may have brought another
                self.take_head()
        came: list[tuple] = []
        handle = self.head.register_forward_pre_hook(
            lambda module, given: came.append(given[0])
        )
        try:
            losses = self.task_loss(inputs, data_samples)
        finally:
            handle.remove()
        if self.gamma != 1:
            losses = {
                name: self.gamma * value if 'loss' in name else value
                for name, value in losses.items()
            }
        if not (self.alpha or self.beta):
            return losses
        return with_ratios(losses, self._distilled(inputs, came[0]))

    def _distilled(self, inputs: Tensor, maps: tuple) -> dict[str, Tensor]:
        teacher = self.teacher.on(inputs.device)
        with torch.no_grad():
            images = as_prepared_by(
                teacher.data_preprocessor,
                self.data_preprocessor,
                inputs,
                [(inputs.shape[-2], inputs.shape[-1])] * len(inputs),
            )
            told = teacher.head(teacher.extract_feat(images))

        def compared(logits: Tensor) -> Tensor:
            return softmax_divergence(logits, told, self.temperature) / len(inputs)

        losses = {}
        if self.alpha:
            losses['loss_own'] = self.alpha * compared(self.head(maps))
        if self.beta:
            embedding = self.head.pre_logits(maps)
            if hasattr(self, 'adapter'):
                embedding = self.adapter(embedding)
            losses['loss_shared'] = self.beta * compared(teacher.head((embedding,)))
        return losses


def _kind(head: nn.Module | None) -> str | None:
    """Which of the known heads one computes as."""
    # Late: MMPretrain is an extra.
    from mmpretrain.models.heads import (  # type: ignore[import-untyped]
        ArcFaceClsHead,
        LinearClsHead,
    )

    from .embedding import EmbeddingArcFaceHead

    for known in (LinearClsHead, EmbeddingArcFaceHead, ArcFaceClsHead):
        if isinstance(head, known) and all(
            getattr(type(head), name) is getattr(known, name)
            for name in ('forward', 'pre_logits')
        ):
            margin = issubclass(known, ArcFaceClsHead)
            return (ArcFaceClsHead if margin else known).__name__
    return None
