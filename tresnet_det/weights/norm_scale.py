"""The scale of a norm: gamma here and in timm, |gamma| + eps officially.

The official in-place norm multiplies by ``|gamma| + eps``. timm published its
files with that sum in place of gamma, so that a plain batch norm computes the
same; reading an official file here does what timm did, and nothing else ever
does.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ['NORM_EPS', 'scales_from_official', 'scales_to_official']

NORM_EPS = 1e-5  # eps of the official norm, which it adds to |gamma| as well
_NORM_SCALE = re.compile(r'(.*\.)?(bn([123]?))\.weight')


def scales_from_official(
    state: Mapping[str, Tensor], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Replace official gammas by the scales that they mean.

    Args:
        state: Tensors of an official file by our bare names.
        dtype: Precision in which the sum is computed at least.
    """
    state = dict(state)
    for name in list(filter(_NORM_SCALE.fullmatch, state)):
        gamma = state[name]
        gamma = gamma.to(torch.promote_types(gamma.dtype, dtype))
        state[name] = gamma.abs() + NORM_EPS
    return state


def scales_to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace norm scales by official gammas that mean them.

    A gamma cannot mean every scale s. A negative one is made positive by
    turning the sign of the conv before the norm and of the running mean,
    which computes the same; one nearer to 0 than eps becomes eps.

    The gamma chosen is the float next to s - eps for which ``|gamma| + eps``
    rounds to s again. There is one for every s that was read from an
    official file, so those come back bit for bit (gamma itself does not: its
    sign is lost, and its last bit where adding eps rounded it away). Of
    other scales a few around 1e-4 come back 1 ulp off, because float32
    rounds the sum of any gamma and eps past them.

    Args:
        state: Tensors by our bare names.
    """
    state = dict(state)
    for found in list(filter(None, map(_NORM_SCALE.fullmatch, state))):
        start, norm, number = found.groups(default='')
        scale = state[found[0]]
        scale = scale.to(torch.promote_types(scale.dtype, torch.float32))
        if (scale < 0).any():
            sign = torch.where(scale < 0, -1, 1).to(scale.dtype)
            conv = f'{start}conv{number}.weight'
            mean = f'{start}{norm}.running_mean'
            state[conv] = state[conv] * sign[:, None, None, None]
            state[mean] = state[mean] * sign
            scale = scale.abs()
        gamma = (scale.double() - NORM_EPS).clamp(min=0).to(scale.dtype)
        for step in (-torch.inf, torch.inf):
            near = torch.nextafter(gamma, torch.full_like(gamma, step))
            better = (near.abs() + NORM_EPS == scale) & (gamma + NORM_EPS != scale)
            gamma = torch.where(better, near, gamma)
        state[found[0]] = gamma
    return state
