"""The loss on the val split, which MMDetection 3.x no longer computes.

Any config gets it by one line:

    custom_hooks = [dict(type='ValLossHook')]
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
import torch.distributed
import torch.nn as nn
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner, autocast

from ..errors import UserError

__all__ = ['ValLossHook', 'losses_of', 'training_without_noise',
           'with_boxes_first']


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
            if name in kind:
                return index
        raise UserError(
            'the loss on the val split needs a val pipeline with LoadImage... '
            f'and LoadAnnotations, got {[step["type"] for step in steps]}')

    steps.insert(place('LoadImage') + 1, steps.pop(place('LoadAnnotations')))
    return steps


@contextmanager
def training_without_noise(model: nn.Module) -> Iterator[None]:
    """Training mode in which nothing is random and no statistics move.

    Heads compute losses in training mode only (FCOS decodes its boxes
    otherwise), while norms and dropout must act as in inference. The former
    have children, the latter are leaves.
    """
    was_training = [(m, m.training) for m in model.modules()]
    model.train()
    for module in model.modules():
        if (next(module.children(), None) is None
                or isinstance(module, nn.MultiheadAttention)):
            module.eval()
    try:
        yield
    finally:
        for module, training in was_training:
            module.training = training


@torch.no_grad()
def losses_of(model: BaseModel, batches: Iterable[dict]) -> dict[str, float]:
    """Mean losses over data, each batch weighed by its images.

    Over several processes the mean is that of all, and each must have equally
    many batches, for the losses' normalisers are averaged between them.

    Args:
        model: Detector.
        batches: As a data loader gives them, annotations included.

    Returns:
        ``loss``, the sum that training would minimise, and its parts.

    Raises:
        UserError: There is no batch.
    """
    total: dict[str, torch.Tensor] = {}
    images = 0
    with training_without_noise(model):
        for batch in batches:
            data = model.data_preprocessor(batch, False)
            _, parts = model.parse_losses(model(**data, mode='loss'))
            count = len(data['inputs'])
            images += count
            for name, value in parts.items():
                total[name] = total.get(name, 0) + value.double() * count
    if not images:
        raise UserError('the val split holds no image to compute a loss on')
    sums = torch.stack([*total.values(), torch.tensor(
        float(images), dtype=torch.double,
        device=next(iter(total.values())).device)])
    all_reduce(sums)
    return dict(zip(total, (sums[:-1] / sums[-1]).tolist()))


@HOOKS.register_module()
class ValLossHook(Hook):
    """Adds the losses of the val split to each evaluation's metrics.

    They appear beside the AP in the log, in ``scalars.json`` and in any
    visualiser, as ``val_loss``, ``val_loss_cls`` and so on, and can choose
    the best checkpoint (``save_best='val_loss'``). The images pass the
    network once more, through the val pipeline (no augmentation) with running
    statistics, under autocast if the evaluation is. Where there is an EMA,
    its weights are the ones that are looked at, as for the AP.

    Raises:
        UserError: The val pipeline loads no annotations.
    """

    # Before EMAHook (NORMAL) gives back the weights that are trained, and
    # before the metrics are logged.
    priority = 'ABOVE_NORMAL'

    def before_train(self, runner: Runner) -> None:
        """Builds the second data loader of the val split.

        Raises:
            UserError: The val pipeline loads no annotations.
        """
        if runner.val_loop is None:
            raise UserError(
                'ValLossHook needs a val split: set val_dataloader, '
                'val_evaluator and val_cfg, or take the hook out')
        cfg: Any = deepcopy(runner.cfg.val_dataloader)
        data = cfg.dataset
        while 'pipeline' not in data:  # wrapped, as in RepeatDataset
            data = data.dataset
        data.pipeline = with_boxes_first(data.pipeline)
        self.loader = runner.build_dataloader(cfg, seed=runner.seed)

    def after_val_epoch(self, runner: Runner,
                        metrics: dict[str, float] | None = None) -> None:
        """Computes the losses, logs them and adds them to ``metrics``."""
        model = runner.model
        with autocast(enabled=runner.val_loop.fp16):
            losses = losses_of(
                model.module if is_model_wrapper(model) else model,
                self.loader)
        for name, value in losses.items():
            # What mmengine calls the losses that a model's val_step returns.
            runner.message_hub.update_scalar(f'val/val_{name}', value)
            if metrics is not None:
                metrics[f'val_{name}'] = value
