"""SH-KD, first step: a teacher that is trained with a student's head.

The second step is ``HeadSharing`` with what comes out as its teacher.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from torch import nn

from ..common.errors import UserError
from .checks import check_class_names, check_heads
from .heads import parts_of, rest_parts
from .student import Overlay, tell_no_hook
from .teacher import Teacher

__all__ = ['SharedHead']


class SharedHead(Overlay):
    """A model with another one's trained head, copied and frozen.

    It is a plain model in all else, trained with its own losses; the head is
    in its checkpoints, so ``student`` is needed only when a training starts. It
    is taken then by ``DistillationHook``, and without one before the first loss.

    Args:
        detector: Type of the plain model, which gets all other fields; of a
            classifier with its scope, 'mmpretrain.ImageClassifier'.
        student: Arguments of ``Teacher``: config and checkpoint of the model
            whose head it is.
        share_from: How many layers of the own head come before the student's
            rest, which is frozen; 0 for the whole head. Of two stages both
            heads are meant, that of masks is not.
        fields: Those of the plain model.

    Raises:
        UserError: The student cannot be read, or its head does not fit.
    """

    def __init__(
        self,
        detector: str | type,
        student: Mapping[str, Any],
        share_from: int = 0,
        **fields: Any,
    ) -> None:
        super().__init__(**fields)
        self.student = Teacher(**student)
        self.checked = False  # the head is the student's
        self.share_from = share_from
        if share_from < 0:
            raise UserError(f'share_from is {share_from}; expected is 0 or more')
        for _, module in _frozen(self, self.share_from):
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> 'SharedHead':
        """Norms of the frozen part keep their statistics."""
        super().train(mode)  # type: ignore[misc]
        for _, module in _frozen(self, self.share_from):
            module.eval()
        return self

    def untrained(self) -> None:
        self.checked = True

    def training_hooks(self) -> Sequence[Hook]:
        from .hook import DistillationHook

        return [DistillationHook()]

    def loss(self, inputs: Any, data_samples: list) -> dict[str, Any]:
        """The plain model's losses."""
        if not self.checked:  # load_from may have brought another head
            self.take_head()
            tell_no_hook('class names are not compared')
        return super().loss(inputs, data_samples)  # type: ignore[misc]

    def take_head(self, classes: Sequence[str] | None = None) -> None:
        """Copies the student's head.

        Args:
            classes: Names of the training data's classes.

        Raises:
            UserError: It does not fit.
        """
        check_class_names(self.student.classes, classes)
        theirs, own = _heads(self.student.model), _heads(self)
        kinds = [
            {path: type(head).__name__ for path, head in each.items()}
            for each in (theirs, own)
        ]
        if kinds[0] != kinds[1]:
            raise UserError(
                f"the student's head is {kinds[0]}, this model's is {kinds[1]}: "
                'a head is shared between two of one type'
            )
        if any(hasattr(head, 'prior_generator') for head in own.values()):
            check_heads(self.student.model, self, self.share_from, adapter=False)
        given, wanted = (
            _state(model, self.share_from) for model in (self.student.model, self)
        )
        others = [
            f'{name}: student {_shape(given.get(name))}, this model '
            f'{_shape(wanted.get(name))}'
            for name in {**given, **wanted}
            if _shape(given.get(name)) != _shape(wanted.get(name))
        ]
        if others:
            raise UserError(
                "the student's head does not fit this model's:\n  "
                + '\n  '.join(others[:5])
                + '\nSet the same widths and numbers of convs in both configs'
            )
        with torch.no_grad():
            for name, value in wanted.items():
                value.copy_(given[name])
        self.checked = True


def _heads(model: Any) -> dict[str, nn.Module]:
    """A detector's or classifier's, by where they are in it."""
    heads = {part.path: part.head(model) for part in parts_of(model)}
    return heads or {'head': model.head}


def _frozen(model: Any, start: int) -> Iterator[tuple[str, nn.Module]]:
    """The parts of the heads after their layers number ``start``."""
    for path, head in _heads(model).items():
        for name, module in rest_parts(head, start):
            yield f'{path}.{name}', module


def _state(model: Any, start: int) -> dict[str, torch.Tensor]:
    """Weights and statistics of the frozen parts."""
    return {
        f'{name}.{key}': value
        for name, module in _frozen(model, start)
        for key, value in module.state_dict().items()
    }


def _shape(value: torch.Tensor | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(value.shape)
