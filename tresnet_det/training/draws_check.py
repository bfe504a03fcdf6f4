"""Does a training data set draw the same for the same seed?

What keeps a generator within reach is seeded with the others. Some draw of
the system's own entropy, though, each time anew: scikit-image's noise, which
MMDetection's ``Corrupt`` asks for, or whoever calls ``np.random.default_rng()``.
"""

import hashlib
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from .generators import kept_generators, kept_parts, parts_of
from .seeding import seed_image

__all__ = ['inexact_parts']

# How often, as many transforms draw only now and then.
_TRIES = 4


def inexact_parts(loader: DataLoader, seed: int) -> list[str]:
    """Finds what makes two runs of one seed, or a resumed run, differ.

    One image is loaded a few times, where the loader would do it: in a worker
    if it has some, so that files are opened there and not here.

    Args:
        loader: Of the training.
        seed: Of the run.

    Returns:
        For each part its name, or what is known of it, and the fault.
    """
    found = [
        f'{type(part).__name__} keeps images of earlier batches, which no checkpoint '
        'holds: a resumed run begins without them'
        for part in kept_parts(loader.dataset)
        if 'results_cache' in getattr(part, '__dict__', ())
    ]
    try:
        (name,) = DataLoader(
            _Probe(loader.dataset, seed),
            batch_size=None,
            num_workers=min(1, loader.num_workers),
            multiprocessing_context=loader.multiprocessing_context,
            worker_init_fn=loader.worker_init_fn,
        )
    except Exception:  # an image that cannot be loaded: for the training to tell
        return found
    if name:
        found.append(
            f'{name} draws numbers that no seed reaches: two runs of one seed, and a '
            'resumed one, differ'
        )
    return found


class _Probe(Dataset):
    """Its one item names what does not draw the same twice, if anything."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> str:
        for number in range(_TRIES):
            one, other = (
                self._drawn(number, lambda: self.dataset[index]) for _ in range(2)
            )
            if _digest(one) != _digest(other):
                return self._transform(index) or 'the training data set'
        return ''

    def _drawn(self, number: int, draw: Any) -> Any:
        seed_image(kept_generators(self.dataset), self.seed, number, 0)
        return draw()

    def _transform(self, index: int) -> str:
        """The first transform of a plain pipeline that differs."""
        dataset: Any = self.dataset
        transforms = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
        for number in range(_TRIES if hasattr(dataset, 'get_data_info') else 0):
            results = dataset.get_data_info(index)
            for transform in transforms:
                one, other = (
                    self._drawn(number, lambda: transform(deepcopy(results)))  # noqa: B023
                    for _ in range(2)
                )
                if _digest(one) != _digest(other):
                    return type(transform).__name__
                if one is None:
                    break
                results = one
        return ''


def _digest(item: Any) -> str:
    digest = hashlib.sha256()
    for value in _values(item):
        digest.update(value)
    return digest.hexdigest()


def _values(item: Any) -> Iterator[bytes]:
    """The numbers in a sample, in an order that the same structure repeats."""
    seen: set[int] = set()
    waiting = [item]
    while waiting:
        part = waiting.pop()
        if isinstance(part, torch.Tensor):
            part = part.detach().numpy(force=True)
        if isinstance(part, (np.ndarray, np.generic)):
            yield repr(part.shape).encode()
            yield part.tobytes() if part.dtype != object else b''
        elif isinstance(part, (int, float, str)):
            yield repr(part).encode()
        elif part is not None and not callable(part) and id(part) not in seen:
            seen.add(id(part))
            waiting.extend(parts_of(part))
