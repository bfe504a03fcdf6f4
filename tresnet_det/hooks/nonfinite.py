"""Stops a training whose numbers go wrong, before the weights do."""

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from ..atomic import written_whole
from ..diagnosis import diagnose, image_names, plain
from ..errors import UserError
from ..load_report import some

__all__ = ['NonFiniteError', 'StopOnNonFiniteHook']


class NonFiniteError(UserError):
    """A loss, a gradient or a weight became NaN or infinite."""


@HOOKS.register_module()
class StopOnNonFiniteHook(Hook):
    """Stops at the first loss or gradient that is not finite.

    Gradients are looked at just before the optimizer would use them, so the
    weights stay as they were; weights and running statistics are looked at
    before they are saved, so no checkpoint with NaN replaces a good one.
    Under AMP the loss scaler skips a step whose gradients are not finite and
    halves its scale, which a few times is normal.

    On stopping, the step is computed again with the same random numbers and
    ``nonfinite_iter_<i>_rank_<r>.json`` is written beside the log: the
    images, the first layer with a value that is not finite, norms of all
    layers' outputs, parameters and gradients. The batch itself lies beside
    it in ``.pth``. With several processes all stop, each writes its own.

    Cost: one norm of each gradient and one wait for the device each
    iteration (MMEngine waits for the losses anyway); over several processes
    one number is reduced each iteration.

    Args:
        max_skipped_steps: How many steps in succession the loss scaler of
            AMP may skip. After the default its first scale, 65536, is down to
            1/16: the scale is not what is wrong.

    Raises:
        NonFiniteError: In all processes; the message is one line.
    """

    # After RuntimeInfoHook, which reads the losses; before EMAHook.
    priority = 'HIGH'

    def __init__(self, max_skipped_steps: int = 20) -> None:
        self.max_skipped_steps = max_skipped_steps
        self._skipped = 0
        self._stepped = False
        self._batch: Any = None
        self._iteration = 0
        self._random: list[Tensor] = []

    def before_train(self, runner: Runner) -> None:
        # A loss scaler calls step() for finite gradients, or says found_inf.
        self._handle = runner.optim_wrapper.optimizer.register_step_pre_hook(
            partial(self._before_step, runner))

    def after_train(self, runner: Runner) -> None:
        self._handle.remove()

    def before_train_iter(self, runner: Runner, batch_idx: int,
                          data_batch: Any = None) -> None:
        self._batch, self._stepped = data_batch, False
        self._iteration = runner.iter + 1
        self._random = [torch.get_rng_state()]
        if torch.cuda.is_available():
            self._random.append(torch.cuda.get_rng_state())

    def _before_step(self, runner: Runner, optimizer: torch.optim.Optimizer,
                     *_: Any) -> None:
        # Set by a loss scaler for fused optimizers, which skip by themselves.
        if getattr(optimizer, 'found_inf', None):
            return
        self._stepped = True
        # Summed over the processes already, so all of them see the same.
        if not _all_finite(parameter.grad for group in optimizer.param_groups
                           for parameter in group['params']):
            self._stop(runner, 'the gradients are not finite')

    def after_train_iter(self, runner: Runner, batch_idx: int,
                         data_batch: Any = None,
                         outputs: dict[str, Tensor] | None = None) -> None:
        loss = torch.as_tensor((outputs or {}).get('loss', 0.0)).detach()
        wrong = _anywhere(~loss.isfinite())
        if not self._stepped and runner.optim_wrapper.should_update():
            self._skipped += 1
            if self._skipped >= self.max_skipped_steps:
                self._stop(runner, f'{self._skipped} steps in succession were '
                           'skipped by the loss scaler, their gradients not '
                           'being finite')
            if wrong:  # what overflowed may be in the running statistics
                self._check_state(runner)
            return
        self._skipped = 0
        if wrong:
            self._stop(runner, f'the loss is not finite ({loss.item()})')
        if any(isinstance(hook, CheckpointHook) and not hook.by_epoch
               and hook.every_n_train_iters(runner, hook.interval)
               for hook in runner.hooks):
            self._check_state(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        self._check_state(runner)

    def _check_state(self, runner: Runner) -> None:
        # Other buffers may be infinite on purpose, as masks are.
        state = {
            name: value for name, value in _unwrapped(runner).state_dict(
                keep_vars=True).items() if isinstance(value, nn.Parameter)
            or name.endswith(('running_mean', 'running_var'))}
        if _anywhere(torch.tensor(not _all_finite(state.values()))):
            wrong = [name for name, value in state.items()
                     if not _all_finite([value])]
            self._stop(runner, f'{len(wrong)} weights and running statistics '
                       f'are not finite ({some(wrong)})')

    def _stop(self, runner: Runner, reason: str) -> None:
        """Writes the diagnosis and raises."""
        torch.set_rng_state(self._random[0])
        if len(self._random) > 1:
            torch.cuda.set_rng_state(self._random[1])
        images = image_names(self._batch)
        found = diagnose(_unwrapped(runner), self._batch, runner.optim_wrapper)
        file = Path(runner.log_dir, f'nonfinite_iter_{self._iteration}_'
                    f'rank_{runner.rank}.json')
        with written_whole(file) as part:
            part.write_text(json.dumps(dict(
                reason=reason, iteration=self._iteration, rank=runner.rank,
                images=images, **found), indent=1))
        with written_whole(file.with_suffix('.pth')) as part:
            torch.save(plain(self._batch), part)
        ids = some(str(image['img_path'] if image['img_id'] is None
                       else image['img_id']) for image in images)
        message = (
            f'training stopped at iteration {self._iteration}: {reason}; '
            f'first not finite: {found["first"] or "nothing, this time"}; '
            f'images: {ids}; diagnosis: {file} (the batch: .pth). Look at '
            'these images and their boxes, lower the learning rate or set '
            'clip_grad')
        # The process whose batch is to blame speaks for all.
        told = all_gather_object((found['first'] is not None, message))
        raise NonFiniteError(next(
            (text for known, text in told if known), message))


def _anywhere(wrong: Tensor) -> bool:
    """Whether something is wrong in any of the processes."""
    flag = wrong.float()
    all_reduce(flag, 'max')
    return bool(flag)


def _unwrapped(runner: Runner) -> BaseModel:
    model = runner.model
    return model.module if is_model_wrapper(model) else model


def _all_finite(tensors: Iterable[Tensor | None]) -> bool:
    """Whether all values are finite; waits for the device once."""
    values = [tensor for tensor in tensors
              if tensor is not None and tensor.is_floating_point()]
    # As torch's own clip_grad_norm_ does it: a few kernels for all tensors.
    return not values or bool(
        torch.stack(torch._foreach_norm(values)).isfinite().all())
