"""State dicts in the official format, by a rule, and the golden values.

`tests/data/golden_m_*.json` hold what the official TResNet-M computes in
float64 with weights drawn by :func:`fill`; the seed of each tensor is its
official key, so a wrong key gives wrong values.
"""

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tresnet_det import TResNet
from tresnet_det.weights.formats import from_ours

DATA = Path(__file__).parent / 'models' / 'golden'
REFERENCE = Path(
    os.environ.get(
        'TRESNET_DET_REFERENCE', Path(__file__).parents[2] / 'shared' / 'reference'
    )
)


def official_shapes(arch: str, num_classes: int = 1000) -> dict[str, Sequence[int]]:
    """Keys and shapes of the official state dict of an arch."""
    with torch.device('meta'):
        model = TResNet(arch)
        state = dict(model.state_dict())
        state['head.fc.weight'] = torch.empty(num_classes, model.out_channels[-1])
        state['head.fc.bias'] = torch.empty(num_classes)
    # Renaming alone: meta tensors have no values to turn into gammas.
    scales = {
        name: torch.ones(value.shape)
        for name, value in state.items()
        if value.dim() == 1
    }
    official = from_ours({**state, **scales}, 'official')
    return {key: tuple(value.shape) for key, value in official.items()}


def fill(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Float32 tensors drawn by the keys; a quarter of the gammas negative."""
    state = {}
    for key, shape in shapes.items():
        draw = np.random.RandomState(zlib.crc32(key.encode()))
        if key.endswith('num_batches_tracked'):
            state[key] = torch.zeros(tuple(shape), dtype=torch.long)
            continue
        if key.endswith(('running_mean', 'bias')):
            value = 0.1 * draw.standard_normal(shape)
        elif key.endswith('running_var'):
            value = draw.uniform(0.5, 1.5, shape)
        elif len(shape) == 1:
            value = draw.uniform(0.5, 1.5, shape)
            value[draw.uniform(size=shape) < 0.25] *= -1
        else:
            value = draw.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        state[key] = torch.from_numpy(value).float()
    return state


def golden(size: str) -> dict:
    """Golden values for 'HxW', the input among them as a tensor."""
    values = json.loads((DATA / f'golden_m_{size}.json').read_text())
    values['images'] = torch.from_numpy(
        np.random.RandomState(0).standard_normal(values['input'])
    )
    return values
