"""The loss of a detector on data that it does not train on."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import DataLoader

from .errors import UserError
from .seeding import fixed_draws
from .side_effects import without_side_effects

__all__ = ['losses_of', 'training_without_noise']


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
            if (next(module.children(), None) is None
                    or isinstance(module, nn.MultiheadAttention)):
                module.eval()
        yield


@torch.no_grad()
def losses_of(model: BaseModel,
              batches: DataLoader | list[dict]) -> dict[str, float]:
    """Mean losses over data, each batch weighed by its images.

    Over several processes the mean is that of all of them. Detectors divide
    by counts (of objects, of samples) that are sums over a batch and means
    over processes, so it depends a little on the batch size and on the number
    of processes.

    Args:
        model: Detector.
        batches: Annotations included, at least one in each process.

    Returns:
        ``loss``, the sum that training would minimise, and its parts.

    Raises:
        UserError: There is no batch.
    """
    total: dict[str, torch.Tensor] = {}
    images = 0
    with training_without_noise(model):
        # As in training, for only there masks are padded like the images;
        # who augments all to one size (RTMDet-Ins) leaves that out.
        model.data_preprocessor.batch_augments = None
        model.data_preprocessor.pad_mask = True
        for batch, counts in _as_many_in_each_process(batches):
            data = model.data_preprocessor(batch, True)
            _, parts = model.parse_losses(model(**data, mode='loss'))
            if not counts:
                continue
            count = len(data['inputs'])
            images += count
            for name, value in parts.items():
                total[name] = total.get(name, 0) + value.double() * count
    sums = torch.stack([*total.values(), torch.tensor(
        float(images), dtype=torch.double,
        device=next(iter(total.values())).device)])
    all_reduce(sums)
    return dict(zip(total, (sums[:-1] / sums[-1]).tolist()))


def _as_many_in_each_process(
        batches: DataLoader | list[dict]) -> Iterator[tuple[dict, bool]]:
    """Batches, and whether they count.

    Losses exchange normalisers, so who has fewer batches than another process
    repeats its last one, which does not count.
    """
    ends = torch.tensor([len(batches), -len(batches)])
    all_reduce(ends, 'max')
    most, fewest = ends.abs().tolist()
    if not fewest:
        raise UserError(
            'the val split has no image to compute a loss on for one of '
            f'{get_world_size()} processes; expected is at least one for each')
    for batch in batches:
        yield batch, True
    for _ in range(most - len(batches)):
        yield batch, False
