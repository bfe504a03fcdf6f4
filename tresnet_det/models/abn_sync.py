"""Statistics and gradient sums of a norm over a group of processes."""

from typing import TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ['Group', 'combine_statistics', 'sum_over_group']

Group: TypeAlias = 'dist.ProcessGroup | None'


def combine_statistics(x: Tensor, group: Group) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance and count of all processes' batches together.

    Args:
        x: This process's map of shape (N, C, ...); N may differ between the
            processes and be 0.
        group: The processes.

    Returns:
        Mean and variance of shape (C,), at least float32, and the count of
        values per channel, of shape ().
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    channels, count = x.shape[1], x.numel() // x.shape[1]
    if count:
        dims = [0, *range(2, x.dim())]
        var, mean = torch.var_mean(x, dims, correction=0)
    else:
        mean = var = x.new_zeros(channels)
    local = torch.cat([mean, var, mean.new_full((1,), count)])
    every = [torch.empty_like(local) for _ in range(dist.get_world_size(group))]
    dist.all_gather(every, local, group)
    means, variances, counts = torch.stack(every).split([channels, channels, 1], 1)
    total = counts.sum()
    share = counts / total
    mean = (means * share).sum(0)
    # Deviations from the common mean, not a difference of squares, which
    # would cancel.
    var = ((variances + (means - mean).square()) * share).sum(0)
    return mean, var, total


def sum_over_group(
    dbias: Tensor, dweight: Tensor, count: int, group: Group
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum both gradient sums, shape (C,), and the count over the processes."""
    packed = torch.cat([dbias, dweight, dbias.new_full((1,), count)])
    dist.all_reduce(packed, group=group)
    channels = len(dbias)
    return packed[:channels], packed[channels:-1], packed[-1]
