"""Arms that learn from other arms of the same comparison."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from .run import Run

__all__ = ['in_order', 'link_teachers', 'pairs', 'teacher_of']

_KEYS = ('teacher', 'student')  # of HeadSharing, of SharedHead


def _other_model(run: Run) -> dict[str, Any] | None:
    """What a run's config says of the model that it learns from, if any."""
    model = run.cfg.get('model') or {}
    return next((model[key] for key in _KEYS if model.get(key)), None)


def _arm_of(run: Run) -> str | None:
    """Name of the arm whose config the other model has."""
    other = _other_model(run)
    config = None if other is None else other.get('config')
    return None if not isinstance(config, str) else Path(config).stem


def teacher_of(run: Run, arms: Sequence[Sequence[Run]]) -> Run | None:
    """The run of another arm, with the same label, that a run learns from."""
    name = _arm_of(run)
    return next(
        (
            other
            for runs in arms
            for other in runs
            if other.arm == name and other.label == run.label
        ),
        None,
    )


def link_teachers(arms: Sequence[Sequence[Run]]) -> None:
    """Gives each run the last checkpoint of its teacher's run.

    An arm whose ``teacher.config`` (of SharedHead: ``student.config``) is the
    config of another arm learns from that arm's run with the same seed. Any
    other takes the checkpoint that its config names.

    Raises:
        UserError: A checkpoint is neither given nor that of an arm.
    """
    for run in (run for runs in arms for run in runs if run.gpus):
        other = _other_model(run)
        if other is None:
            continue
        teacher = teacher_of(run, arms)
        if teacher is not None:
            unit = 'epoch' if teacher.by_epoch else 'iter'
            other['checkpoint'] = str(teacher.work_dir / f'{unit}_{teacher.length}.pth')
        elif not other.get('checkpoint'):
            raise UserError(
                f'{run} learns from {other.get("config")}, whose checkpoint is not '
                'given: name that config as an arm too, or a file in '
                'model.teacher.checkpoint (--cfg-options would set it for all arms)'
            )


def in_order(arms: Sequence[Sequence[Run]]) -> list[Run]:
    """All runs, seed by seed, so that a comparison that is stopped has all
    arms of some; each after the one that it learns from."""

    def depth(run: Run, seen: tuple[Run, ...] = ()) -> int:
        teacher = teacher_of(run, arms)
        if teacher is None:
            return 0
        if teacher in seen or teacher is run:
            raise UserError(f'{run} and {teacher} learn from each other')
        return 1 + depth(teacher, (*seen, run))

    return sorted(
        (run for runs in arms for run in runs), key=lambda run: (run.label, depth(run))
    )


def pairs(arms: Sequence[Sequence[Run]]) -> list[tuple[str, str]]:
    """Names of the arms that learn from another arm, and of that arm."""
    names = {runs[0].arm for runs in arms}
    return [
        (runs[0].arm, teacher)
        for runs in arms
        if (teacher := _arm_of(runs[0])) is not None and teacher in names
    ]
