"""The loss on the val split, which MMDetection 3.x no longer computes.

Any config gets it by one line:

    custom_hooks = [dict(type='ValLossHook')]

or ``[*_base_.custom_hooks, dict(type='ValLossHook')]`` on a base with some.
"""

import re
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner, autocast
from torch.utils.data import DataLoader

from ...common.errors import UserError
from ...data.wrapped_datasets import innermost_datasets
from ..losses import losses_of

__all__ = ['ValLossHook', 'loss_dataloader', 'with_boxes_first']


def with_boxes_first(pipeline: Iterable[dict]) -> list[dict]:
    """A test pipeline whose transforms move the ground truth too.

    MMDetection's test pipelines load annotations after they resized the
    image: right for evaluation, which is done in pixels of the original, but
    the loss compares with predictions in pixels of the network's input.

    Args:
        pipeline: Transforms of a val or test data set.

    Returns:
        A copy with ``LoadAnnotations`` right after the image is loaded.

    Raises:
        UserError: No transform loads annotations or images.
    """
    steps = list(deepcopy(pipeline))

    def place(name: str) -> int:
        for index, step in enumerate(steps):
            kind = step['type']
            kind = kind if isinstance(kind, str) else kind.__name__
            if re.search(name, kind):
                return index
        raise UserError(
            'the loss on the val split needs a val pipeline with LoadImage... '
            f'and LoadAnnotations, got {[step["type"] for step in steps]}'
        )

    # LoadPanopticAnnotations, LoadMultiChannelImageFromFiles ...
    steps.insert(place(r'Load\w*Image') + 1, steps.pop(place(r'Load\w*Annotations')))
    return steps


def loss_dataloader(dataloader: Any) -> dict:
    """The config of a loader that gives each image of a val split once, the
    ground truth resized with it.

    Args:
        dataloader: Config of the split's loader.

    Raises:
        UserError: It is no config, or a data set's pipeline loads no
            annotations.
    """
    if not isinstance(dataloader, dict):
        raise UserError(
            "ValLossHook needs val_dataloader as a dict in the runner's "
            'config, to build another like it; got '
            f'{type(dataloader).__name__}'
        )
    dataloader = deepcopy(dataloader)
    # Rounded up to equal shares for all processes, some images came twice.
    dataloader.update(
        drop_last=False,
        sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    )
    for data in innermost_datasets(dataloader['dataset']):
        if not isinstance(data, dict):
            raise UserError(
                "ValLossHook needs val_dataloader's data sets as dicts, to "
                f'build others like them; got a {type(data).__name__}'
            )
        data['pipeline'] = with_boxes_first(data.get('pipeline', ()))
    return dataloader


@HOOKS.register_module()
class ValLossHook(Hook):
    """Adds the losses of the val split to each evaluation's metrics.

    They appear beside the AP in the log, in ``scalars.json`` and in any
    visualiser, as ``val_loss``, ``val_loss_cls`` and so on, and can choose
    the best checkpoint (``save_best='val_loss'``). The images pass the
    network once more, through the val pipeline (no augmentation) with running
    statistics, under autocast if the evaluation is. Where there is an EMA,
    its weights are the ones that are looked at, as for the AP.
    """

    # Before EMAHook (NORMAL) gives back the weights that are trained, and
    # before the metrics are logged.
    priority = 'ABOVE_NORMAL'

    def __init__(self) -> None:
        self.loader: DataLoader | None = None

    def before_train(self, runner: Runner) -> None:
        """Builds the second data loader of the val split.

        Raises:
            UserError: There is no val split, or its loss cannot be computed.
        """
        if runner.val_loop is None:
            raise UserError(
                'ValLossHook needs a val split: set val_dataloader, '
                'val_evaluator and val_cfg, or take the hook out'
            )
        self.before_val(runner)

    def before_val(self, runner: Runner) -> None:
        """The same, where nothing is trained."""
        if self.loader is None:
            model = _unwrapped(runner)
            if hasattr(model, 'teacher') and hasattr(model, 'student'):
                raise UserError(
                    'ValLossHook needs one detector, and '
                    f'{type(model).__name__} is two; take the hook out'
                )
            self.loader = runner.build_dataloader(
                loss_dataloader(runner.cfg.get('val_dataloader')), seed=runner.seed
            )

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Computes the losses, logs them and adds them to ``metrics``."""
        assert self.loader is not None
        with autocast(enabled=runner.val_loop.fp16):
            losses = losses_of(_unwrapped(runner), self.loader)
        for name, value in losses.items():
            # What mmengine calls the losses that a model's val_step returns.
            runner.message_hub.update_scalar(f'val/val_{name}', value)
            if metrics is not None:
                metrics[f'val_{name}'] = value


def _unwrapped(runner: Runner) -> BaseModel:
    model = runner.model
    return model.module if is_model_wrapper(model) else model
