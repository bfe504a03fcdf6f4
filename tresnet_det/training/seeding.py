"""Random numbers that depend on the seed and the iteration alone.

A run that was stopped and resumed must draw what it would have drawn, yet a
checkpoint holds no state of any generator, and those of the loader's workers
cannot be read. So nothing is carried on from one iteration to the next: before
each image the generators are set by (seed, iteration, image), before each
step of the model by (seed, iteration). The number of workers, and of
processes that share a batch, changes nothing.
"""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from .generators import kept_generators, seed_generators

__all__ = [
    'Draw',
    'NumberedBatches',
    'fixed_draws',
    'numbered',
    'seed_image',
    'seed_images',
    'set_seeds',
]


class Draw(NamedTuple):
    """An image that a batch asks for.

    Attributes:
        iteration: The one that trains on the batch, from 0.
        image: Its index in the data set.
    """

    iteration: int
    image: int


class NumberedBatches(Sampler):
    """Another batch sampler's batches as lists of ``Draw``.

    Args:
        batches: Config of the other one.
        sampler: Gives the indices.
        batch_size: Images in a batch.

    Attributes:
        iteration: Number of the next batch. It runs on from one epoch to the
            next; who resumes sets it.
        skip: Batches to leave out at the next start, without reading them.
    """

    def __init__(self, batches: dict, sampler: Sampler, batch_size: int) -> None:
        self.batches = DATA_SAMPLERS.build(
            batches, default_args=dict(sampler=sampler, batch_size=batch_size)
        )
        self.iteration = 0
        self.skip = 0

    def __getattr__(self, name: str) -> Any:
        if name == 'batches':  # not there yet: unpickling
            raise AttributeError(name)
        return getattr(self.batches, name)  # sampler, batch_size ...

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Draw]]:
        skip, self.skip = self.skip, 0
        for batch in islice(self.batches, skip, None):
            number = self.iteration
            self.iteration += 1
            yield [Draw(number, index) for index in batch]


def numbered(dataloader: dict) -> dict:
    """The config of a loader, with its batches numbered.

    The data set of such a loader must know what to do, see ``seed_images``.
    """
    dataloader = dict(dataloader)
    drop_last = dataloader.pop('drop_last', False)
    batches = dataloader.get('batch_sampler') or dict(
        type=BatchSampler, drop_last=drop_last
    )
    return dict(dataloader, batch_sampler=dict(type=NumberedBatches, batches=batches))


def seed_images(loader: DataLoader, seed: int) -> None:
    """Makes the data set of a loader with numbered batches seed each image.

    torch asks a data set for a whole batch through ``__getitems__`` if it has
    one. It is set on this one instance, which stays what it is for all hooks
    that look at it or change its pipeline.
    """
    items = partial(_seeded_items, loader.dataset, seed)
    setattr(loader.dataset, '__getitems__', items)  # noqa: B010  mypy knows no such


def _seeded_items(dataset: Dataset, seed: int, batch: list[Draw]) -> list:
    items = []
    generators = kept_generators(dataset)  # anew, as hooks change pipelines
    for draw in batch:
        seed_image(generators, seed, *draw)
        items.append(dataset[draw.image])
    return items


def seed_image(generators: Iterable[Any], *key: int) -> None:
    """Sets all that may draw numbers while an image is loaded.

    Args:
        generators: That the data set keeps to itself.
        key: The row of numbers to set them by.
    """
    set_seeds(*key)
    # OpenCV's cannot be read and put back as it was; nobody goes on with it.
    cv2.setRNGSeed(_hashed(*key) >> 1)
    seed_generators(generators, *key)


def set_seeds(*key: int) -> None:
    """Sets the generators of Python, NumPy and torch by a row of numbers."""
    seed = _hashed(*key)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _hashed(*key: int) -> int:
    # Neighbouring seeds give related streams; with its length, as zeros at the
    # end would not count.
    return int(np.random.SeedSequence((len(key), *key)).generate_state(1)[0])


@contextmanager
def fixed_draws(*key: int) -> Iterator[None]:
    """Random numbers that depend on a row of numbers alone.

    Afterwards the generators of Python, NumPy and torch go on as if nothing
    had been drawn.
    """
    python, numpy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices):
            set_seeds(*key)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
