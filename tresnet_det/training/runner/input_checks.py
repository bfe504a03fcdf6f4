"""Where the checks of configs, data and checkpoints come in."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmengine.visualization import Visualizer
from torch import nn
from torch.utils.data import DataLoader

from ...common.errors import UserError
from ..hooks import SkippedImagesHook
from .best_checks import check_save_best
from .checkpoint_checks import check_fit, check_resumable, explained
from .data_checks import check_dataset
from .evaluator_checks import check_evaluator, right_for_any_ids
from .launch_checks import asks_for_amp, check_amp
from .loading import check_when_loading

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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._skip_log = None
        if self.cfg.get('skip_corrupt_images', False):
            self._skip_log = str(Path(self.log_dir, 'skipped_images.txt'))
            self.register_hook(SkippedImagesHook(self._skip_log))

    def set_randomness(self, *args: Any, **kwargs: Any) -> None:
        with _building(f'randomness {kwargs}'):
            super().set_randomness(*args, **kwargs)

    def register_hooks(
        self, default_hooks: dict | None = None, custom_hooks: list | None = None
    ) -> None:
        with _building('hooks'):
            super().register_hooks(default_hooks, custom_hooks)

    def build_visualizer(self, visualizer: Any = None) -> Visualizer:
        with _building('visualizer'):
            return super().build_visualizer(visualizer)

    def build_model(self, model: Any) -> nn.Module:
        with _building('model'):
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
        with _building('data set'):
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
        with _building('training'):
            built = super().build_train_loop(loop)
        if built.max_iters <= 0:
            raise UserError(
                f'nothing would be trained: train_cfg is {loop}, '
                f'which makes {built.max_iters} iterations. Set '
                'max_epochs or max_iters above 0'
            )
        return built

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        with _building('validation'):
            check_evaluator(self._val_evaluator, self._val_dataloader)
            loop = super().build_val_loop(loop)
            check_save_best(self.hooks, loop)
            return loop

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        with _building('test'):
            check_evaluator(self._test_evaluator, self._test_dataloader)
            return super().build_test_loop(loop)

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        """Builds as mmengine does, ours in place of ``CocoMetric``."""
        return super().build_evaluator(right_for_any_ids(evaluator))

    def build_optim_wrapper(self, optim_wrapper: Any) -> OptimWrapper:
        with _building(f'optimizer ({optim_wrapper})'):
            if asks_for_amp(optim_wrapper):
                check_amp("optim_wrapper.type = 'AmpOptimWrapper' of the config")
            return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        with _building('param_scheduler'):
            return super().build_param_scheduler(scheduler)

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict:
        """Loads as mmengine does; only fine-tuning may lack some weights.

        Raises:
            CheckpointError: The file cannot be read or, for evaluation and
                to resume, does not fit the model; or to resume, it holds no
                state of the optimizer or the schedulers.
        """
        with explained(filename):
            checkpoint = super().load_checkpoint(filename, *args, **kwargs)
        training = isinstance(self._train_loop, BaseLoop)
        check_fit(self.model, checkpoint, filename, wholly=self._resume or not training)
        if self._resume and training:
            check_resumable(
                checkpoint,
                [
                    key
                    for key, part in (
                        ('optimizer', self.optim_wrapper),
                        ('param_schedulers', self.param_schedulers),
                    )
                    if part is not None
                ],
                filename,
            )
        return checkpoint

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        with explained(filename, resume=True):
            super().resume(filename, *args, **kwargs)


@contextmanager
def _building(part: str) -> Iterator[None]:
    """A config names classes and their arguments: what fails is its fault."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f'the {part} that the config describes cannot be '
            f'built: {type(error).__name__}: {error}'
        ) from error
