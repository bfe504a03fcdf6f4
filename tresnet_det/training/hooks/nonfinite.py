"""Stops a training whose numbers go wrong, before the weights do."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from ...common.atomic import written_whole
from ...common.errors import UserError, some
from ..diagnosis import diagnose, image_names, plain

__all__ = ['NonFiniteError', 'StopOnNonFiniteHook']


class NonFiniteError(UserError):
    """A loss, a gradient or a weight became NaN or infinite."""


@dataclass
class _Iteration:
    """What is needed to compute one again."""

    number: int = 0
    batch: Any = None
    random: list[Tensor] = field(default_factory=list)
    loss: Tensor | float = 0.0


@HOOKS.register_module()
class StopOnNonFiniteHook(Hook):
    """Stops at the first loss or gradient that is not finite.

    Gradients are looked at just before the optimizer would use them, so the
    weights stay as they were; weights and running statistics are looked at
    before they are saved, so no checkpoint with NaN replaces a good one.
    Under AMP the loss scaler skips a step whose gradients are not finite and
    halves its scale, which a few times is normal: there a loss that is not
    finite stops the training if the scaler takes the step nevertheless.

    On stopping, the step is computed again with the same random numbers and
    ``nonfinite_iter_<i>_rank_<r>.json`` is written beside the log: the
    images, the first layer with a value that is not finite, norms of all
    layers' outputs, parameters and gradients. The batch itself lies beside
    it in ``.pth``. With several processes all stop, each writes its own.

    Cost: one norm of each gradient; over several processes one number is
    reduced each iteration. The device is waited for twice: before the step,
    and then for all losses together, which MMEngine's log would read one by
    one. Under AMP only the latter, as the loss scaler looks at the gradients.

    Args:
        max_skipped_steps: How many steps in succession the loss scaler of
            AMP may skip. After the default its first scale, 65536, is down to
            1/16: the scale is not what is wrong.

    Raises:
        NonFiniteError: In all processes; the message is one line.
    """

    # After IterationSeedHook, whose seeds are noted; before RuntimeInfoHook,
    # which reads the losses, and EMAHook.
    priority = 5

    def __init__(self, max_skipped_steps: int = 20) -> None:
        self.max_skipped_steps = max_skipped_steps
        self._skipped = 0
        # Whether the weights were changed; a tensor until it is read.
        self._stepped: bool | Tensor = False
        self._current = _Iteration()
        # The first with a bad loss since the last update of the weights.
        self._suspect: _Iteration | None = None

    def before_train(self, runner: Runner) -> None:
        # A loss scaler calls step() for finite gradients, or says found_inf.
        # torch has step hooks for this, which the compiler of torch 2.1 takes
        # out of all optimizers.
        optimizer = runner.optim_wrapper.optimizer
        self._step = optimizer.step

        @wraps(self._step)
        def step(*args: Any, **kwargs: Any) -> Any:
            self._before_step(runner, optimizer)
            return self._step(*args, **kwargs)

        optimizer.step = step

    def after_train(self, runner: Runner) -> None:
        runner.optim_wrapper.optimizer.step = self._step

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        self._stepped = False
        random = [torch.get_rng_state()]
        if torch.cuda.is_available():
            random.append(torch.cuda.get_rng_state())
        self._current = _Iteration(runner.iter + 1, data_batch, random)

    def _before_step(self, runner: Runner, optimizer: torch.optim.Optimizer) -> None:
        if hasattr(runner.optim_wrapper, 'loss_scaler'):
            # It looked at the gradients. Fused optimizers skip by themselves if
            # it found something; others are not called then.
            found = getattr(optimizer, 'found_inf', None)
            self._stepped = True if found is None else found == 0
            return
        self._stepped = True
        # Summed over the processes already, so all of them see the same.
        fault = _fault(
            [
                parameter.grad
                for group in optimizer.param_groups
                for parameter in group['params']
            ]
        )
        if fault:
            self._stop(runner, f'the gradients are {fault}')

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Tensor] | None = None,
    ) -> None:
        wrong = self._read(outputs if outputs is not None else {})
        if wrong:
            self._suspect = self._suspect or self._current
        optim_wrapper = runner.optim_wrapper
        # A loss scaler decides at the update, whichever batch was wrong.
        scaled = hasattr(optim_wrapper, 'loss_scaler')
        if self._suspect and (self._stepped or not scaled):
            self._stop(
                runner,
                f'the loss is not finite ({float(self._suspect.loss)})',
                self._suspect,
            )
        updated = optim_wrapper.should_update()
        if updated:
            self._skipped = 0 if self._stepped else self._skipped + 1
            if self._skipped >= self.max_skipped_steps:
                self._stop(
                    runner,
                    f'{self._skipped} steps in succession were '
                    'skipped by the loss scaler, their gradients not '
                    'being finite',
                    self._suspect,
                )
        # What overflowed may be in the running statistics.
        if wrong or any(_saves_now(hook, runner) for hook in runner.hooks):
            self._check_state(runner)
        if updated:
            self._suspect = None

    def _read(self, outputs: dict[str, Any]) -> bool:
        """Reads what is needed on the host, at once; whether a loss is wrong.

        The losses in ``outputs`` are on the host then, for all other hooks.
        """
        loss = torch.as_tensor(outputs.get('loss', 0.0)).detach()
        wrong = (~loss.isfinite()).to(loss)
        all_reduce(wrong, 'max')
        stepped = torch.as_tensor(self._stepped, dtype=loss.dtype, device=loss.device)
        losses = {
            name: value.detach()
            for name, value in outputs.items()
            if isinstance(value, Tensor)
            and value.numel() == 1
            and (value.dtype, value.device) == (loss.dtype, loss.device)
        }
        values = [value.reshape(()) for value in (wrong, stepped, *losses.values())]
        # The read. A copy also where all is on the CPU.
        wrong, stepped, *read = torch.stack(values).to('cpu', copy=True).unbind()
        outputs.update(zip(losses, read))
        self._current.loss = outputs.get('loss', 0.0)
        self._stepped = bool(stepped)
        return bool(wrong)

    def before_val_epoch(self, runner: Runner) -> None:
        if self._current.number:  # the best checkpoint may follow
            self._check_state(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        self._check_state(runner)

    def _check_state(self, runner: Runner) -> None:
        # Other buffers may be infinite on purpose, as masks are.
        state = {
            name: value
            for name, value in _unwrapped(runner).state_dict(keep_vars=True).items()
            if isinstance(value, nn.Parameter)
            or name.endswith(('running_mean', 'running_var'))
        }
        fault = _fault(state.values())
        if _anywhere(fault is not None):
            wrong = [name for name, value in state.items() if _fault([value])]
            self._stop(
                runner,
                f'{len(wrong)} weights and running statistics '
                f'are {fault or "not finite"} ({some(wrong)})',
            )

    def _stop(
        self, runner: Runner, reason: str, blamed: _Iteration | None = None
    ) -> None:
        """Writes the diagnosis of an iteration, the last one, and raises."""
        step = blamed or self._current
        torch.set_rng_state(step.random[0])
        if len(step.random) > 1:
            torch.cuda.set_rng_state(step.random[1])
        images = image_names(step.batch)
        found = diagnose(_unwrapped(runner), step.batch, runner.optim_wrapper)
        file = Path(
            runner.log_dir, f'nonfinite_iter_{step.number}_rank_{runner.rank}.json'
        )
        where = f'diagnosis: {file} (the batch: .pth)'
        try:
            with written_whole(file) as part:
                part.write_text(
                    json.dumps(
                        dict(
                            reason=reason,
                            iteration=step.number,
                            rank=runner.rank,
                            images=images,
                            **found,
                        ),
                        indent=1,
                    )
                )
            with written_whole(file.with_suffix('.pth')) as part:
                torch.save(plain(step.batch), part)
        except Exception as error:  # the reason counts; the others wait below
            text = str(error).partition('\n')[0]
            where = f'the diagnosis could not be written whole ({text})'
        ids = some(
            str(image['img_path'] if image['img_id'] is None else image['img_id'])
            for image in images
        )
        message = (
            f'training stopped at iteration {step.number}: {reason}; '
            f'first not finite: {found["first"] or "nothing, this time"}; '
            f'images: {ids}; {where}. Look at these images and their boxes, '
            'lower the learning rate or set clip_grad'
        )
        # The process whose batch is to blame speaks for all.
        told = all_gather_object((found['first'] is not None, message))
        raise NonFiniteError(next((text for known, text in told if known), message))


def _saves_now(hook: Hook, runner: Runner) -> bool:
    """Whether a hook saves a checkpoint after this iteration."""
    return (
        isinstance(hook, CheckpointHook)
        and not hook.by_epoch
        and (
            hook.every_n_train_iters(runner, hook.interval, hook.save_begin)
            or hook.save_last
            and hook.is_last_train_iter(runner)
        )
    )


def _anywhere(wrong: bool) -> bool:
    """Whether something is wrong in any of the processes."""
    flag = torch.tensor(float(wrong))
    all_reduce(flag, 'max')
    return bool(flag)


def _unwrapped(runner: Runner) -> BaseModel:
    model = runner.model
    return model.module if is_model_wrapper(model) else model


def _fault(tensors: Iterable[Tensor | None]) -> str | None:
    """What is wrong with values, if anything; waits for the device once."""
    values = [
        tensor
        for tensor in tensors
        if tensor is not None and tensor.is_floating_point()
    ]
    # As torch's own clip_grad_norm_ does it: a few kernels for all tensors.
    if not values or torch.stack(torch._foreach_norm(values)).isfinite().all():
        return None
    if all(value.isfinite().all() for value in values):
        return 'too large, their norm is not finite'
    return 'not finite'
