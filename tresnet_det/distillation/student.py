"""What students of all kinds share: a detector's class, and a teacher beside."""

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from inspect import signature
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..training.seeding import fixed_draws

__all__ = [
    'Adapter',
    'Overlay',
    'Student',
    'adapter',
    'plain_model',
    'tell_no_hook',
    'with_ratios',
]


@cache
def _overlaid(mixin: type, plain: type) -> type:
    return type(f'{mixin.__name__}{plain.__name__}', (mixin, plain), dict(plain=plain))


class Overlay:
    """A mixin that a config puts over the class of any model.

    ``X(detector='FCOS', ...)`` is an instance of X and of FCOS. Its class is
    made once for each pair and registered nowhere; what X does not need goes
    to FCOS. A config of a base with another type thus stays as it is.

    Attributes:
        scope: Where the plain class is looked up if its name has no scope.
        plain: The class under it.
    """

    scope = 'mmdet'
    plain: type

    def untrained(self) -> None:
        """Goes on without any file, to measure costs: weights are random."""
        raise NotImplementedError

    def __new__(cls, detector: Any = None, **fields: Any) -> Any:
        if detector is not None and not issubclass(cls, BaseModel):
            if isinstance(detector, str):
                with MODELS.switch_scope_and_registry(cls.scope) as registry:
                    plain = registry.get(detector)
                if plain is None:
                    raise KeyError(
                        f'detector={detector!r} of {cls.__name__} is no model '
                        f'that {cls.scope} knows'
                    )
            else:
                plain = detector
            cls = _overlaid(cls, plain)  # type: ignore[arg-type]
        return super().__new__(cls)


def tell_no_hook(lacking: str) -> None:
    """Warns that mmengine's own runner trains, without the hook."""
    print_log(
        f"no DistillationHook is at work: {lacking}. Set runner_type = 'CheckedRunner' "
        "in the config, or custom_hooks = [dict(type='DistillationHook')]",
        'current',
        logging.WARNING,
    )


def plain_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the plain model inside that of a student."""
    own = {
        name
        for kind in Overlay.__subclasses__()
        for cls in (kind, *kind.__subclasses__())
        if cls.__name__ == model['type']
        for name in signature(cls.__init__).parameters
    }
    plain = {key: value for key, value in model.items() if key not in own}
    kind = model.get('detector') or model.get('classifier', 'ImageClassifier')
    return dict(plain, type=kind)


class Adapter(nn.Module):
    """A linear map between maps of two widths, trained with the student.

    It is no part of the student: its weights are not in the state dict, which
    is that of the plain detector, but beside it in checkpoints (see
    ``DistillationHook``). To all else it is a module like others.
    """

    def __init__(self, given: int, wanted: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(wanted, given))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.view(*self.weight.shape, *[1] * (x.dim() - 2))
        if x.dim() == 4:
            return nn.functional.conv2d(x, weight)
        return nn.functional.linear(x, weight)

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        pass

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        pass


def adapter(given: int, wanted: int) -> Adapter:
    """One that draws no random number of the student's."""
    with fixed_draws(given, wanted):
        return Adapter(given, wanted)


class Student(Overlay):
    """A model that trains beside a teacher and is alone afterwards.

    Who inherits sets ``teacher`` and ``distils`` in its constructor.

    Attributes:
        teacher: See ``Teacher``.
        distils: Whether any weight of a distillation loss is above 0; if not,
            no teacher is read, and training is the plain one.
        checked: Teacher and student were found to fit.
    """

    teacher: Any
    distils: bool
    checked = False
    data_preprocessor: Any

    def training_hooks(self) -> Sequence[Hook]:
        """What ``CheckedRunner`` registers beside the config's hooks."""
        from .hook import DistillationHook

        return [DistillationHook()] if self.distils else []

    def untrained(self) -> None:
        if self.distils:
            self.teacher.untrained()

    def check_teacher(self, classes: Sequence[str] | None = None) -> None:
        """Reads the teacher, and refuses one that does not fit.

        Args:
            classes: Names of the training data's.

        Raises:
            UserError: It does not fit, or cannot be read.
        """
        raise NotImplementedError

    def check_when_first_used(self) -> None:
        """The same where no hook did it, which is told: it does more."""
        if self.checked:
            return
        self.check_teacher()
        if self.teacher.sha256:
            tell_no_hook(
                'class names of teacher and student are not compared, and checkpoints '
                'do not tell the teacher nor the adapters'
            )

    def take_head(self, classes: Sequence[str] | None = None) -> None:
        """Copies the teacher's head where the student shall begin with it.

        Args:
            classes: As for ``check_teacher``.
        """

    def task_loss(self, inputs: Tensor, data_samples: list) -> dict[str, Any]:
        """The plain model's losses."""
        return super().loss(inputs, data_samples)  # type: ignore[misc]

    def adapters(self) -> dict[str, Adapter]:
        """All, by their names in this model."""
        return {
            name: module
            for name, module in self.named_modules()  # type: ignore[attr-defined]
            if isinstance(module, Adapter)
        }


def with_ratios(task: dict[str, Any], distilled: dict[str, Tensor]) -> dict[str, Any]:
    """All losses, and what to log of them.

    Args:
        task: Losses of the plain model, each a tensor or a list of some.
        distilled: Losses that the teacher adds, named ``loss_...``.

    Returns:
        Both, and for each of the latter ``ratio_...``, its share of the sum
        of the former. Not being called a loss, it is logged and not added.
    """
    with torch.no_grad():
        total = sum(
            sum(part.mean() for part in (v if isinstance(v, list) else [v]))
            for name, v in task.items()
            if 'loss' in name
        )
        ratios = {
            name.replace('loss', 'ratio'): value.detach()
            / torch.as_tensor(total).clamp(min=1e-12)
            for name, value in distilled.items()
        }
    return {**task, **distilled, **ratios}
