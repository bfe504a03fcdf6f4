"""The loss of a detector on data that it does not train on."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.distributed as dist
from mmengine.dist import all_gather_object
from mmengine.model import BaseModel
from torch import nn

from ..common.errors import UserError
from .seeding import fixed_draws
from .side_effects import without_side_effects

__all__ = ['as_if_alone', 'losses_of', 'training_without_noise']


@contextmanager
def training_without_noise(model: nn.Module) -> Iterator[None]:
    """Training mode that is the same each time and leaves nothing behind.

    Heads compute losses in training mode only (FCOS decodes its boxes
    otherwise), while norms and dropout must act as in inference. The former
    have children, the latter are leaves. What is random all the same, as the
    choice of proposals in Faster R-CNN, is drawn from a fixed seed; the
    generators and the model are given back as they were.
    """
    with fixed_draws(0), without_side_effects(model):
        model.train()
        for module in model.modules():
            if next(module.children(), None) is None or isinstance(
                module, nn.MultiheadAttention
            ):
                module.eval()
        yield


@contextmanager
def as_if_alone() -> Iterator[None]:
    """Lets a process of several compute as if there was no other.

    Losses average their normalisers over processes (``reduce_mean``): what a
    process gets for a batch would depend on which other batches are computed
    at the same time, and it would wait for processes that have none left.
    """
    if not (dist.is_available() and dist.is_initialized()):
        yield
        return
    world = dist.GroupMember.WORLD
    dist.GroupMember.WORLD = None
    try:
        yield
    finally:
        dist.GroupMember.WORLD = world


@torch.no_grad()
def losses_of(model: BaseModel, batches: Iterable[dict]) -> dict[str, float]:
    """Mean losses over data, each batch weighed by its images.

    Detectors divide by counts (of objects, of samples) in a batch, so the
    mean depends on which images share one. Over several processes it is that
    of all their batches.

    Args:
        model: Detector.
        batches: As a data loader gives them, annotations included.

    Returns:
        ``loss``, the sum that training would minimise, and its parts.

    Raises:
        UserError: No process has a batch.
    """
    total: dict[str, torch.Tensor] = {}
    images = 0
    with training_without_noise(model), as_if_alone():
        # As in training, for only there masks are padded like the images;
        # who augments all to one size (RTMDet-Ins) leaves that out.
        model.data_preprocessor.batch_augments = None
        model.data_preprocessor.pad_mask = True
        for batch in batches:
            data = model.data_preprocessor(batch, True)
            # A student's further losses, its teacher's, are no task's.
            loss = getattr(model, 'task_loss', partial(model, mode='loss'))
            _, parts = model.parse_losses(loss(**data))
            count = len(data['inputs'])
            images += count
            for name, value in parts.items():
                total[name] = total.get(name, 0) + value.double() * count
    shares = all_gather_object(
        (images, {name: value.item() for name, value in total.items()})
    )
    images = sum(count for count, _ in shares)
    if not images:
        raise UserError('the val split holds no image to compute a loss on')
    names = dict.fromkeys(name for _, share in shares for name in share)
    return {
        name: sum(share.get(name, 0.0) for _, share in shares) / images
        for name in names
    }
