"""What is drawn depends on the seed, the iteration and the image alone."""

import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.runner import Runner
from torch.utils.data import BatchSampler, Dataset

from tresnet_det.training.seeding import (
    Draw,
    NumberedBatches,
    fixed_draws,
    numbered,
    seed_images,
    set_seeds,
)


class Images(Dataset):
    """Eight images; each is its index and what an augmentation draws."""

    pipeline = 'as built'

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return index, random.random(), np.random.rand(), torch.rand(()).item()


def loader(seed=0, num_workers=0, batch_size=2, sampler=DefaultSampler, **options):
    built = Runner.build_dataloader(
        numbered(
            dict(
                dataset=Images(),
                batch_size=batch_size,
                num_workers=num_workers,
                sampler=dict(type=sampler, shuffle=False),
                collate_fn=dict(type=list),
                **options,
            )
        ),
        seed=seed,
    )
    seed_images(built, seed)
    return built


def images(*args, **kwargs):
    return [image for batch in loader(*args, **kwargs) for image in batch]


def test_each_part_of_the_key_and_each_generator_counts():
    drawn = []
    for key in ((0, 0), (1, 0), (0, 1), (0, 0, 0), (0, 0, 1)):
        set_seeds(*key)
        first = Images()[0]
        set_seeds(*key)
        assert Images()[0] == first
        drawn += first[1:]
    assert len({*drawn}) == len(drawn) == 15


def test_nothing_but_the_key_counts():
    expected = images()
    np.random.seed(5)
    assert images() == expected
    assert images(num_workers=2) == expected
    assert images(seed=1) != expected
    # An image draws the same whichever process has it: here those of one
    # process with the whole batch, there those of the second of two.
    batches = list(loader(batch_size=4))
    half = NumberedBatches(dict(type=BatchSampler, drop_last=False), range(1, 8, 2), 2)
    own = loader(batch_size=4).dataset.__getitems__
    assert [own(draws) for draws in half] == [[batch[1], batch[3]] for batch in batches]


def test_epochs_run_on_and_differ():
    one = loader(num_workers=2, persistent_workers=True)
    first, second = list(one), list(one)
    assert [[image[0] for image in batch] for batch in first] == [
        [image[0] for image in batch] for batch in second
    ]
    assert (
        len(
            {
                image[1]
                for epoch in (first, second)
                for batch in epoch
                for image in batch
            }
        )
        == 16
    )
    again = loader()
    again.batch_sampler.iteration = 4
    assert list(again) == second


def test_skipping_reads_nothing():
    whole, rest = loader(), loader()
    rest.batch_sampler.iteration = rest.batch_sampler.skip = 3
    read = []
    rest.dataset.__class__ = type(
        'Counting',
        (Images,),
        dict(
            __getitem__=lambda self, index: (
                read.append(index),
                Images.__getitem__(self, index),
            )[1]
        ),
    )
    assert list(rest) == list(whole)[3:]
    assert read == [6, 7]
    assert len(rest) == 4  # an epoch keeps its length


def test_infinite_sampler():
    batches = iter(loader(sampler=InfiniteSampler))
    drawn = [next(batches) for _ in range(8)]
    assert drawn[0][0][0] == drawn[4][0][0] == 0
    assert drawn[0] != drawn[4]


@pytest.mark.parametrize(
    'options',
    [dict(drop_last=True), dict(batch_sampler=dict(type=BatchSampler, drop_last=True))],
)
def test_batches_stay_what_they_were(options):
    built = loader(batch_size=3, **options)
    assert len(built) == 2
    assert list(built.batch_sampler) == [
        [Draw(0, 0), Draw(0, 1), Draw(0, 2)],
        [Draw(1, 3), Draw(1, 4), Draw(1, 5)],
    ]
    assert built.batch_sampler.batch_size == 3
    assert isinstance(built.batch_sampler.sampler, DefaultSampler)
    with pytest.raises(AttributeError, match='no_such'):
        getattr(built.batch_sampler, 'no_such')  # noqa: B009


def test_data_set_stays_what_it_was():
    """Hooks change it, and workers that are not forked get it pickled."""
    built = loader()
    assert type(built.dataset) is Images
    built.dataset.pipeline = 'of the last epochs'
    copy = pickle.loads(pickle.dumps(built.dataset))
    draws = [Draw(0, 3)]
    assert copy.__getitems__(draws) == built.dataset.__getitems__(draws)
    assert copy.__getitems__.args[0] is copy
    assert copy.pipeline == 'of the last epochs'
    pickle.loads(pickle.dumps(built.batch_sampler))


def test_fixed_draws_leave_the_streams_alone():
    set_seeds(1)
    expected = Images()[0], Images()[0]
    set_seeds(1)
    first = Images()[0]
    with fixed_draws(2):
        fixed = Images()[0]
    with pytest.raises(InterruptedError), fixed_draws(2):
        assert Images()[0] == fixed != first
        raise InterruptedError
    assert (first, Images()[0]) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_fixed_draws_on_a_gpu():
    def draw():
        return torch.rand(3, device='cuda')

    torch.cuda.manual_seed_all(1)
    expected = draw()
    torch.cuda.manual_seed_all(1)
    with fixed_draws(2):
        fixed = draw()
    with fixed_draws(2):
        assert torch.equal(draw(), fixed)
    assert torch.equal(draw(), expected) and not torch.equal(fixed, expected)
