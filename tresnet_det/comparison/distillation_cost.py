"""What a step of a distilled training costs more than a plain one."""

import statistics
from copy import deepcopy
from functools import partial
from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import Tensor

from ..common.errors import UserError
from ..distillation.heads import parts_of
from ..distillation.student import plain_model
from .benchmark import MIB, paired_times, ratio
from .kept import bytes_kept_by

__all__ = ['Row', 'step_costs']


class Row(NamedTuple):
    """Costs of a training step: forward, losses, backward.

    Attributes:
        name: 'plain' or 'distilled'.
        params: Number of the model's parameters, adapters included.
        resident: MiB of weights that are held beside them, the teacher's.
        kept, kept_ratio: MiB kept for backward per image.
        train, train_ratio: Seconds, median of the rounds; None if untimed.
    """

    name: str
    params: int
    resident: float
    kept: float
    kept_ratio: float
    train: float | None
    train_ratio: float | None


def step_costs(
    cfg: Config,
    size: tuple[int, int],
    batch: int,
    device: torch.device,
    repeats: int,
) -> list[Row]:
    """Measures a student with its teacher and without, in turn.

    Weights are random, the teacher's too, so that no file is needed; images
    are random with two boxes each.

    Args:
        cfg: Config of the student.
        size: Height and width of the images.
        batch: Images in a batch.
        device: Where to run.
        repeats: Rounds that are timed; 0 for the memory alone.

    Raises:
        UserError: The config has no teacher.
    """
    from mmdet.testing import demo_mm_inputs  # imports all of its models

    if not cfg.model.get('teacher'):
        raise UserError(
            f'{cfg.filename} is no student: its model is a {cfg.model.type} without '
            'a teacher. Give a config of configs/distillation'
        )
    models: dict[str, BaseModel] = {}
    for name, model in (('plain', plain_model(cfg.model)), ('distilled', cfg.model)):
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmdet')):
            models[name] = MODELS.build(deepcopy(model)).to(device)
        models[name].train()
    teacher = models['distilled'].teacher
    models['distilled'].untrained()
    teacher.on(device)
    data = demo_mm_inputs(
        batch,
        [(3, *size)] * batch,
        num_items=[2] * batch,
        num_classes=parts_of(cfg.model)[-1].head(cfg.model).num_classes,
        device=str(device),
        with_mask=models['plain'].with_mask,
    )
    ready = models['plain'].data_preprocessor(data, True)

    def loss(model: BaseModel) -> Tensor:
        return model.parse_losses(model(**deepcopy(ready), mode='loss'))[0]

    def step(model: BaseModel) -> None:
        loss(model).backward()
        model.zero_grad(set_to_none=True)

    lent = teacher.weights()
    kept = {
        name: bytes_kept_by(
            partial(loss, model),
            (*model.parameters(), *model.buffers(), *lent, ready['inputs']),
        )
        / batch
        / MIB
        for name, model in models.items()
    }
    times = (
        paired_times({n: partial(step, m) for n, m in models.items()}, repeats, device)
        if repeats
        else {}
    )
    held = sum(value.numel() * value.element_size() for value in lent) / MIB
    return [
        Row(
            name,
            sum(p.numel() for p in model.parameters()),
            held if name == 'distilled' else 0.0,
            kept[name],
            kept[name] / kept['plain'],
            statistics.median(times[name]) if times else None,
            ratio(times[name], times['plain']) if times else None,
        )
        for name, model in models.items()
    ]
