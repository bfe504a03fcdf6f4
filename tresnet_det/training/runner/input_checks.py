"""Where the checks of configs, data and checkpoints come in."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.checkpoint import _load_checkpoint, _load_checkpoint_to_model
from mmengine.runner.priority import Priority
from mmengine.visualization import Visualizer
from torch import nn
from torch.utils.data import DataLoader

from ...common.errors import UserError
from ...weights.safe_globals import data_only
from ..hooks import SkippedImagesHook
from ..precision import asks_for_amp
from .best_checks import check_save_best
from .building import building
from .checkpoint_checks import check_fit, check_resumable, explained, name_as_model
from .data_checks import check_dataset
from .evaluator_checks import check_evaluator, right_for_any_ids
from .launch_checks import check_amp
from .loading import check_when_loading
from .resume_checks import check_states, tell_changes
from .visual_checks import check_backends

__all__ = ['InputCheckedRunner']


class InputCheckedRunner(Runner):
    """mmengine's runner; refuses what cannot end well before it starts.

    A hook would come too late: hooks first run when the data sets are built,
    and where no name fits at all, building fails with a message about empty
    arrays.

    Two keys of the config: ``allow_class_subset = True`` accepts annotation
    files with categories that the config leaves out. ``skip_corrupt_images =
    True`` goes on without images that cannot be used: training takes others
    at random in their place, evaluation takes them as black, so that their
    objects count as missed; they are counted and listed at the end.
    """

    optim_wrapper: Any
    param_schedulers: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._partly = False  # an EMAHook asks for weights that may be missing
        self._states: dict[str, Any] = {}  # what resume() wants of a checkpoint
        self._changes: list[str] = []
        super().__init__(*args, **kwargs)
        self._skip_log = None
        if self.cfg.get('skip_corrupt_images', False):
            self._skip_log = str(Path(self.log_dir, 'skipped_images.txt'))
            self.register_hook(SkippedImagesHook(self._skip_log))

    def set_randomness(self, *args: Any, **kwargs: Any) -> None:
        with building(f'randomness {kwargs}'):
            super().set_randomness(*args, **kwargs)

    def register_hooks(
        self, default_hooks: dict | None = None, custom_hooks: list | None = None
    ) -> None:
        with building('hooks'):
            super().register_hooks(default_hooks, custom_hooks)

    def register_hook(
        self, hook: Hook | dict, priority: str | int | Priority | None = None
    ) -> None:
        """Registers as mmengine does; heeds ``EMAHook(strict_load=False)``."""
        if isinstance(hook, dict) and hook.get('strict_load') is False:
            self._partly = True
        super().register_hook(hook, priority)

    def build_visualizer(self, visualizer: Any = None) -> Visualizer:
        with building('visualizer'):
            check_backends(visualizer)
            return super().build_visualizer(visualizer)

    def build_model(self, model: Any) -> nn.Module:
        with building('model'):
            model = super().build_model(model)
        # Late: it imports all of MMDetection's models.
        from mmdet.models.necks import FPN

        given = getattr(getattr(model, 'backbone', None), 'out_channels', None)
        neck = getattr(model, 'neck', None)
        if isinstance(neck, FPN) and given and list(given) != list(neck.in_channels):
            raise UserError(
                f'the neck expects maps of {list(neck.in_channels)} channels, '
                f'the backbone gives {list(given)}: set '
                f'model.neck.in_channels = {list(given)} in the config'
            )
        return model

    def build_dataloader(
        self, dataloader: DataLoader | dict, *args: Any, **kwargs: Any
    ) -> DataLoader:
        """Checks the data set, then builds its loader as mmengine does.

        Raises:
            UserError: See ``check_dataset``; when images are loaded, see
                ``LoadCheckedImage``.
        """
        with building('data set'):
            if isinstance(dataloader, Mapping) and isinstance(
                dataloader['dataset'], Mapping
            ):
                check_dataset(
                    dataloader['dataset'],
                    self.cfg.get('allow_class_subset', False),
                    self._skip_log is not None,
                )
                dataloader = dict(
                    dataloader,
                    dataset=check_when_loading(dataloader['dataset'], self._skip_log),
                )
            return super().build_dataloader(dataloader, *args, **kwargs)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        with building('training'):
            built = super().build_train_loop(loop)
        if getattr(built, 'max_iters', 1) <= 0:  # a user's own loop has none
            raise UserError(
                f'nothing would be trained: train_cfg is {loop}, '
                f'which makes {built.max_iters} iterations. Set '
                'max_epochs or max_iters above 0'
            )
        return built

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        with building('validation'):
            check_evaluator(self._val_evaluator, self._val_dataloader)
            loop = super().build_val_loop(loop)
            check_save_best(self.hooks, loop)
            return loop

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        with building('test'):
            check_evaluator(self._test_evaluator, self._test_dataloader)
            return super().build_test_loop(loop)

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        """Builds as mmengine does, ours in place of ``CocoMetric``."""
        return super().build_evaluator(right_for_any_ids(evaluator))

    def build_optim_wrapper(self, optim_wrapper: Any) -> OptimWrapper:
        with building(f'optimizer ({optim_wrapper})'):
            if asks_for_amp(optim_wrapper):
                check_amp("optim_wrapper.type = 'AmpOptimWrapper' of the config")
            return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        with building('param_scheduler'):
            return super().build_param_scheduler(scheduler)

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = 'cpu',
        strict: bool = False,
        revise_keys: list | None = None,
    ) -> dict:
        """Loads as mmengine does; only fine-tuning may lack some weights.

        Names that a wrapper made (``module._orig_mod.``, ``model.``) are taken
        for the model's.

        Raises:
            CheckpointError: The file cannot be read or, for evaluation and
                to resume, does not fit the model; or to resume, it holds no
                state of the optimizer or the schedulers, or another one's.
        """
        with explained(filename), data_only():
            checkpoint = _load_checkpoint(filename, map_location=map_location)
        # mmengine takes it for the text of a config, and a config is a program:
        # no file may bring one along that is run.
        if isinstance(checkpoint.get('meta'), dict):
            checkpoint['meta'].pop('config', None)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        if revise_keys is None:  # else the caller knows the names of the file
            checkpoint = name_as_model(checkpoint, model, filename)
        training = isinstance(self._train_loop, BaseLoop)
        check_fit(
            model,
            checkpoint,
            filename,
            wholly=(self._resume or not training) and not self._partly,
        )
        self._check_states(checkpoint, filename)
        # Before the weights are there, as in mmengine.
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        checkpoint = _load_checkpoint_to_model(
            model, checkpoint, strict, revise_keys=revise_keys or []
        )
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        return checkpoint

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable = 'default',
    ) -> None:
        """Resumes as mmengine does; tells what of the config is not used.

        Raises:
            CheckpointError: See ``load_checkpoint``.
        """
        self._states = {}
        # Built before the checkpoint is read: what they are decides whether its
        # state is theirs.
        if resume_optimizer and self.optim_wrapper is not None:
            self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
            self._states['optimizer'] = self.optim_wrapper
        if resume_param_scheduler:
            if self.param_schedulers is not None:
                self.param_schedulers = self.build_param_scheduler(
                    self.param_schedulers
                )
            self._states['param_schedulers'] = self.param_schedulers
        try:
            with explained(filename, resume=True):
                super().resume(
                    filename, resume_optimizer, resume_param_scheduler, map_location
                )
        finally:
            self._states = {}
        tell_changes(self._changes, filename)
        if self.iter >= self.max_iters:
            self.logger.warning(
                f'nothing is left to train: {filename} is of iteration {self.iter} '
                f'of {self.max_iters}. Raise max_epochs or max_iters of train_cfg'
            )

    def _check_states(self, checkpoint: Mapping[str, Any], filename: str) -> None:
        """Whether the states of a training, if wanted, are there and this one's."""
        if not self._states:
            return
        needed = [key for key, part in self._states.items() if part is not None]
        check_resumable(checkpoint, needed, filename)
        self._changes = check_states(
            checkpoint,
            self._states.get('optimizer'),
            self._states.get('param_schedulers'),
            self.hooks,
            self.cfg,
            filename,
            'param_schedulers' in self._states,
        )
