"""A runner that goes on after any stop, with the very same numbers."""

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import broadcast_object_list, get_rank, is_main_process, master_only
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from mmengine.runner.priority import Priority
from torch import nn

from ...common.atomic import written_whole
from ...common.errors import UserError
from ..draws_check import inexact_parts
from ..hooks import IterationSeedHook, WholeCheckpointHook
from ..seeding import fixed_draws, numbered, seed_images
from .loops import ResumableTrainLoop
from .resume import choose_checkpoint

__all__ = ['ResumableRunner']


class ResumableRunner(Runner):
    """mmengine's runner; goes on after any stop.

    A run that was killed and resumed ends with the very numbers of one that
    was not. mmengine's hook and loop are replaced by ours for that, checkpoint
    files are whole or not there, damaged ones are passed over.

    Several processes can train on CPUs, through gloo.
    """

    _launcher: str
    _load_from: str | None
    _resume: bool
    _train_dataloader: Any

    # Building

    def setup_env(self, env_cfg: dict) -> None:
        """Joins the other processes; mmengine's way there needs a GPU."""
        if (
            self._launcher == 'pytorch'
            and not dist.is_initialized()
            and not torch.cuda.is_available()
        ):
            dist.init_process_group('gloo')
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wraps the model; on CPUs it is not tied to a GPU."""
        if (
            self.distributed
            and model_wrapper_cfg is None
            and not torch.cuda.is_available()
        ):
            model_wrapper_cfg = dict(
                device_ids=None,
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get('find_unused_parameters', False),
            )
        return super().wrap_model(model_wrapper_cfg, model)

    def register_hooks(
        self, default_hooks: dict | None = None, custom_hooks: list | None = None
    ) -> None:
        """Registers the hooks of the config, what resuming needs, and what a
        model needs beside it (``training_hooks()``)."""
        super().register_hooks(default_hooks, custom_hooks)
        self.register_hook(IterationSeedHook())
        model = self.model.module if is_model_wrapper(self.model) else self.model
        known = {*map(type, self.hooks)}
        for hook in getattr(model, 'training_hooks', list)():
            if type(hook) not in known:
                self.register_hook(hook)

    def register_hook(
        self, hook: Hook | dict, priority: str | int | Priority | None = None
    ) -> None:
        """Registers a hook; ours in place of mmengine's CheckpointHook."""
        if isinstance(hook, dict) and _is(hook, CheckpointHook):
            hook = dict(hook, type=WholeCheckpointHook)
        super().register_hook(hook, priority)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Builds the loop, ours in place of mmengine's over epochs."""
        given = self._train_dataloader
        if isinstance(loop, dict):
            # Both keys at once are for mmengine to refuse.
            if ('type' not in loop and loop.get('by_epoch')) or (
                'by_epoch' not in loop and _is(loop, EpochBasedTrainLoop)
            ):
                loop = dict(loop, type=ResumableTrainLoop)
                loop.pop('by_epoch', None)
            self._choose_checkpoint()
            if isinstance(self._train_dataloader, dict):
                # What is drawn of the data never depends on the process.
                seed = self.seed
                if self._randomness_cfg.get('diff_rank_seed'):
                    seed -= get_rank()
                self._train_dataloader = self.build_dataloader(
                    numbered(self._train_dataloader), seed=seed
                )
                seed_images(self._train_dataloader, seed)
                self._tell_inexact(seed)
        try:
            return super().build_train_loop(loop)
        finally:
            # From here mmengine takes the batch size that rates are scaled by.
            self._train_dataloader = given

    @master_only
    def _tell_inexact(self, seed: int) -> None:
        """Warns of what breaks the promise of this class, before it is trained."""
        with fixed_draws(seed):
            for fault in inexact_parts(self._train_dataloader, seed):
                print_log(f'this run is not exact: {fault}', 'current', logging.WARNING)

    def _init_model_weights(self) -> None:
        """Initializes as mmengine does; a resumed run has all its weights, so
        it needs no pretrained file."""
        if not self._resume:
            super()._init_model_weights()

    # Checkpoints

    def _choose_checkpoint(self) -> None:
        """Decides what to resume from, and takes over its seed.

        mmengine looks only after the loader is built, so that the order of
        the images follows another seed if the config names none.

        Raises:
            UserError: In all processes, see ``choose_checkpoint``.
        """
        if not self._resume:
            return
        told: list = [None, None, None]
        fault = None
        if is_main_process():  # one answer for all processes
            try:
                told[:2] = choose_checkpoint(self.work_dir, self._load_from)
            except Exception as error:  # the others wait for the answer
                fault, told[2] = error, str(error)
        broadcast_object_list(told)
        self._load_from, seed, refusal = told
        if refusal is not None:
            raise fault or UserError(refusal)
        if self._load_from is None:
            self._resume = False  # nothing there yet
            return
        if seed not in (None, self._randomness_cfg.get('seed')):
            print_log(
                f'the seed is {seed}, from the checkpoint', 'current', logging.WARNING
            )
            self._randomness_cfg.update(seed=seed)
            self.set_randomness(**self._randomness_cfg)

    @master_only
    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        backend_args: dict | None = None,
        **kwargs: Any,
    ) -> None:
        """Saves a checkpoint so that the file is whole or not there.

        Raises:
            OSError: It cannot be written; no older file was touched.
        """
        kwargs.update(file_client_args=file_client_args, backend_args=backend_args)
        if file_client_args or not isinstance(
            get_file_backend(out_dir, backend_args=backend_args), LocalBackend
        ):
            super().save_checkpoint(out_dir, filename, **kwargs)
            return
        try:
            with written_whole(Path(out_dir, filename)) as part:
                super().save_checkpoint(str(part.parent), filename, **kwargs)
        except OSError as error:
            free = shutil.disk_usage(out_dir).free / 2**20
            raise OSError(
                error.errno,
                f'the checkpoint {filename} could not be written '
                f'({error.strerror}; {free:.0f} MiB are free). Older '
                'checkpoints are whole: make room and go on with --resume',
                str(out_dir),
            ) from error


def _is(cfg: dict, cls: type) -> bool:
    """Whether a config names a class, by its name or itself."""
    return cfg.get('type') in (cls, cls.__name__, f'mmengine.{cls.__name__}')
