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
from .student import Overlay
from .teacher import Teacher

__all__ = ['SharedHead']


class SharedHead(Overlay):
    """A model with another one's trained head, copied and frozen.

    It is a plain model in all else, trained with its own losses; the head is
    in its checkpoints, so ``student`` is needed only when a training starts.

    Args:
        detector: Type of the plain model, which gets all other fields; of a
            classifier with its scope, 'mmpretrain.ImageClassifier'.
        student: Arguments of ``Teacher``: config and checkpoint of the model
            whose head it is.
        share_from: How many convs of the own head come before the student's
            rest, which is frozen; 0 for the whole head.
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
        self.share_from = share_from
        if share_from < 0:
            raise UserError(f'share_from is {share_from}; expected is 0 or more')
        for _, module in _frozen(_head(self), self.share_from):
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> 'SharedHead':
        """Norms of the frozen part keep their statistics."""
        super().train(mode)  # type: ignore[misc]
        for _, module in _frozen(_head(self), self.share_from):
            module.eval()
        return self

    def training_hooks(self) -> Sequence[Hook]:
        from .hook import DistillationHook

        return [DistillationHook()]

    def init_weights(self) -> None:
        super().init_weights()  # type: ignore[misc]
        self.take_head()

    def take_head(self, classes: Sequence[str] | None = None) -> None:
        """Copies the student's head.

        Args:
            classes: Names of the training data's classes.

        Raises:
            UserError: It does not fit.
        """
        check_class_names(self.student.classes, classes)
        theirs = _head(self.student.model)
        own = _head(self)
        if type(theirs) is not type(own):
            raise UserError(
                f"the student's head is a {type(theirs).__name__}, this model's a "
                f'{type(own).__name__}: a head is shared between two of one type'
            )
        if hasattr(own, 'prior_generator'):
            check_heads(theirs, own, self.share_from, adapter=False)
        given, wanted = (_state(head, self.share_from) for head in (theirs, own))
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


def _head(model: Any) -> nn.Module:
    return model.bbox_head if hasattr(model, 'bbox_head') else model.head


def _frozen(head: Any, start: int) -> Iterator[tuple[str, nn.Module]]:
    """The parts of a head after its convs number ``start`` and their names."""
    for name, module in head.named_children():
        if name in ('cls_convs', 'reg_convs'):
            for index, conv in list(enumerate(module))[start:]:
                yield f'{name}.{index}', conv
        else:
            yield name, module


def _state(head: nn.Module, start: int) -> dict[str, torch.Tensor]:
    """Weights and statistics of the frozen part."""
    return {
        f'{name}.{key}': value
        for name, module in _frozen(head, start)
        for key, value in module.state_dict().items()
    }


def _shape(value: torch.Tensor | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(value.shape)
