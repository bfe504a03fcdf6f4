"""The teacher's part in a run: checked, noted in checkpoints, evaluated once."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..common.errors import UserError
from ..training.seeding import fixed_draws
from .shared_head import SharedHead
from .student import Student

__all__ = ['DistillationHook']

_KEY = 'distillation'  # of a checkpoint: what is no part of the student


@HOOKS.register_module()
class DistillationHook(Hook):
    """Registered by ``CheckedRunner`` for each student; mmengine's own runner
    needs ``custom_hooks=[dict(type='DistillationHook')]``.

    Before training it compares teacher and student, class names included, and
    logs what the teacher reaches on the val split. Checkpoints get an entry
    ``distillation``: the sha256 of the teacher's checkpoint and the weights of
    adapters. Resuming with another teacher is refused.
    """

    def before_train(self, runner: Runner) -> None:
        classes = _classes(runner.train_dataloader.dataset)
        model = _unwrapped(runner)
        if isinstance(model, (SharedHead, Student)) and runner.iter == 0:
            # Not before: load_from has another head.
            model.take_head(classes)
        elif isinstance(model, SharedHead):
            model.checked = True  # its own checkpoint is resumed
        student = _student(runner)
        if student is None or not student.distils:
            return
        student.check_teacher(classes)
        runner.logger.info(
            f'teacher: {student.teacher.checkpoint}, sha256 {student.teacher.sha256}'
        )
        if runner.iter == 0 and runner.val_loop is not None:
            self._evaluate(runner, student)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        student = _student(runner)
        if student is not None and student.distils:
            checkpoint[_KEY] = dict(
                teacher=student.teacher.sha256,
                adapters={
                    name: module.weight.detach().cpu().clone()
                    for name, module in student.adapters().items()
                },
            )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """
        Raises:
            UserError: A run is resumed with another teacher than it had.
        """
        student = _student(runner)
        if student is None or not student.distils or not runner._resume:
            return
        found = checkpoint.get(_KEY) or {}
        if found.get('teacher') != student.teacher.sha256:
            raise UserError(
                'the checkpoint was trained with '
                + (
                    f'the teacher of sha256 {found["teacher"]}'
                    if found
                    else 'no teacher'
                )
                + f', and {student.teacher.checkpoint} has sha256 '
                f'{student.teacher.sha256}: give the former in teacher.checkpoint, '
                'or start anew without --resume'
            )
        adapters = student.adapters()
        if {*found['adapters']} != {*adapters}:
            raise UserError(
                f'the checkpoint has the adapters {sorted(found["adapters"])}, '
                f'the config makes {sorted(adapters)}: take the config that it '
                'was trained with'
            )
        for name, module in adapters.items():
            with torch.no_grad():
                module.weight.copy_(found['adapters'][name])

    @torch.no_grad()
    def _evaluate(self, runner: Runner, student: Student) -> None:
        """Logs the teacher's figures on the val split, as ``teacher/...``."""
        model = student.teacher.on(next(runner.model.parameters()).device)
        loop = runner.val_loop
        with fixed_draws(0):  # the loader draws a number when it starts
            for batch in loop.dataloader:
                loop.evaluator.process(
                    data_samples=model.val_step(batch), data_batch=batch
                )
            figures = loop.evaluator.evaluate(len(loop.dataloader.dataset))
        for name, value in figures.items():
            runner.message_hub.update_info(f'teacher/{name}', value)
        runner.logger.info(
            'the teacher on the val split: '
            + ', '.join(f'{name} {_shown(value)}' for name, value in figures.items())
        )


def _shown(value: Any) -> str:
    # MMEngine lets a metric return lists and tensors too.
    return f'{value:.4g}' if isinstance(value, (int, float)) else str(value)


def _unwrapped(runner: Runner) -> Any:
    model = runner.model
    return model.module if is_model_wrapper(model) else model


def _student(runner: Runner) -> Student | None:
    model = _unwrapped(runner)
    return model if isinstance(model, Student) else None


def _classes(dataset: Any) -> Sequence[str] | None:
    return (getattr(dataset, 'metainfo', None) or {}).get('classes')
