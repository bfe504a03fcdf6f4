"""Generators that transforms and layers keep are seeded like the global ones."""

import random
from collections import deque
from functools import partial
from unittest.mock import patch

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from torch.utils.data import DataLoader, Dataset

from tresnet_det.training.draws_check import inexact_parts
from tresnet_det.training.generators import kept_generators, seed_generators
from tresnet_det.training.hooks import IterationSeedHook
from tresnet_det.training.runner.resumable import ResumableRunner
from tresnet_det.training.seeding import Draw, seed_images


class Slotted:
    __slots__ = ('rng',)

    def __init__(self, rng):
        self.rng = rng


def closed_over(rng):
    return lambda: rng.random()


GENERATORS = [
    lambda: random.Random(),
    lambda: np.random.default_rng(),
    lambda: np.random.RandomState(),
    lambda: np.random.Generator(np.random.MT19937()),
    lambda: torch.Generator(),
]
PLACES = [
    lambda rng: Slotted(rng),
    lambda rng: [dict(a=(rng,))],
    lambda rng: deque([rng]),
    lambda rng: partial(print, rng),
    lambda rng: closed_over(rng),
    lambda rng: Slotted(rng).__init__,
]


def drawn(rng):
    if isinstance(rng, torch.Generator):
        return float(torch.rand((), generator=rng))
    return rng.random()


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('generator', GENERATORS)
def test_a_generator_is_found_and_set(generator, place):
    rng = generator()
    thing = place(rng)
    loop = [thing, np.zeros(3), 'text', random, random.random]
    loop.append(loop)
    assert [*map(id, kept_generators(loop))] == [id(rng)]
    draws = []
    for key in ((0, 1), (0, 1), (0, 2), (0, 1, 0)):
        seed_generators([rng], *key)
        draws.append(drawn(rng))
    assert draws[0] == draws[1] and len({*draws}) == 3


def test_global_generators_and_data_are_left_out():
    data = [Slotted(random.Random())] * 1001
    assert kept_generators([random._inst, np.random.mtrand._rand, data]) == []


def test_two_generators_draw_different_numbers():
    pair = [np.random.default_rng(), np.random.default_rng()]
    seed_generators(pair, 0)
    assert drawn(pair[0]) != drawn(pair[1])


class Stock:
    """As imgaug's AutoPrefetcher: draws ahead from the second call on, and keeps
    the rest until another generator comes."""

    def __init__(self):
        self.samples, self.index, self.last_rng_idx = None, 0, None

    def draw(self, rng):
        if self.last_rng_idx is None:
            self.last_rng_idx, self.samples = 0, None
            return rng.random()
        if self.samples is None:
            self.samples, self.index = rng.random(100), 0
        self.index += 1
        return self.samples[self.index - 1]


class Augmenters(list):
    """As imgaug's: a list with a generator, of which others are made."""

    def __init__(self, *children):
        super().__init__(children)
        self.random_state = Slotted(np.random.default_rng())
        self.stock = Stock()

    def __call__(self):
        rng = self.random_state.rng
        return [
            self.stock.draw(rng),
            rng.bit_generator.seed_seq.spawn(1)[0].spawn_key,
        ] + [child() for child in self]


def test_what_imgaug_keeps_is_set():
    augmenters = Augmenters(Augmenters(), Augmenters())
    draws = []
    for key in (0, 0, 1):
        seed_generators(kept_generators(dict(a=augmenters)), key)
        draws.append([augmenters(), augmenters(), augmenters()])
    assert draws[0] == draws[1] != draws[2]


class Transform:
    """As one of albumentations: with generators of its own."""

    def __init__(self):
        self.py_random, self.random_generator = random.Random(), np.random.default_rng()

    def __call__(self, results):
        return [results, self.py_random.random(), self.random_generator.random()]


class Entropy(Transform):
    """As scikit-image's noise: with a new generator each time."""

    def __call__(self, results):
        return [results, np.random.default_rng().random()]


class Cached(Transform):
    """As CachedMosaic."""

    def __init__(self):
        self.results_cache = []

    def __call__(self, results):
        return [results]


class Pipeline:
    def __init__(self, *transforms):
        self.transforms = transforms

    def __call__(self, results):
        for transform in self.transforms:
            results = transform(results)
        return results


class Images(Dataset):
    def __init__(self, *transforms):
        self.pipeline = Pipeline(*transforms)

    def __len__(self):
        return 3

    def get_data_info(self, index):
        return index

    def __getitem__(self, index):
        return self.pipeline(self.get_data_info(index))


@pytest.mark.parametrize('workers', [0, 1])
def test_images_draw_by_seed_iteration_and_image(workers):
    def epoch(draws, seed=0):
        loader = DataLoader(
            Images(Transform(), Transform()),
            batch_sampler=[draws],
            num_workers=workers,
            collate_fn=list,
        )
        seed_images(loader, seed)
        return next(iter(loader))

    one = epoch([Draw(0, 0), Draw(0, 1), Draw(1, 0)])
    assert one == epoch([Draw(0, 0), Draw(0, 1), Draw(1, 0)])
    assert one[2:] == epoch([Draw(1, 0)])  # as after a stop
    assert epoch([Draw(1, 0)]) != epoch([Draw(1, 0)], seed=1)
    assert one[0] != one[2]


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize(
    'transforms, says',
    [
        ([Transform], []),
        ([Transform, Entropy, Transform], ['Entropy draws numbers that no seed']),
        ([Cached], ['Cached keeps images of earlier batches']),
    ],
)
def test_what_no_seed_reaches_is_named(workers, transforms, says):
    dataset = Images(*(transform() for transform in transforms))
    found = inexact_parts(DataLoader(dataset, num_workers=workers), seed=0)
    assert len(found) == len(says)
    for fault, text in zip(found, says):
        assert text in fault


def test_images_that_cannot_be_loaded_are_no_fault_of_seeds():
    assert inexact_parts(DataLoader(Images(len)), seed=0) == []


def test_the_warning_draws_nothing():
    runner = object.__new__(ResumableRunner)
    runner._train_dataloader = DataLoader(Images(Entropy(), Transform()))
    np.random.seed(0)
    with patch('tresnet_det.training.runner.resumable.print_log') as print_log:
        runner._tell_inexact(0)
    assert 'this run is not exact: Entropy' in print_log.call_args.args[0]
    drawn = np.random.rand()
    np.random.seed(0)
    assert drawn == np.random.rand()


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng()


class Runner:
    model = torch.nn.Sequential(Layer())
    seed, iter = 3, 5


def test_layers_draw_by_seed_and_iteration():
    draws = []
    for number in (5, 5, 6):
        Runner.iter = number
        hook: Hook = IterationSeedHook()
        hook.before_train(Runner)
        hook.before_train_iter(Runner, 0)
        draws.append(drawn(Runner.model[0].rng))
    assert draws[0] == draws[1] != draws[2]


def test_albumentations():
    """The library itself, where it is there."""
    pytest.importorskip('albumentations')
    from mmdet.datasets.transforms import Albu

    transform = Albu([dict(type='RandomBrightnessContrast', p=1.0)])
    image = np.full((8, 8, 3), 100, np.uint8)
    draws = []
    for key in ((0, 7, 3), (0, 7, 3), (0, 7, 4)):
        seed_generators(kept_generators(transform), *key)
        random.seed(key[-1])  # its versions before 1.4
        draws.append(transform(dict(img=image))['img'].tolist())
    assert draws[0] == draws[1] != draws[2]
