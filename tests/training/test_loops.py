"""A training that is stopped and resumed equals one that is not, bit by bit.

Each training is a process of its own, forked: no import is done twice.
"""

import errno
import json
import multiprocessing
import os
import re
import signal
import subprocess
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from killing import differences
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, RUNNERS
from small_demo import small_demo
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tresnet_det  # noqa: F401
from tresnet_det.data.demo_data import make_demo_data
from tresnet_det.training.runner.resumable import ResumableRunner
from tresnet_det.training.runner.resume import damage

BASE = Path(__file__).parents[2] / 'configs/demo/fcos_tresnet-m_fpn_demo.py'
EPOCHS = 2  # of 4 iterations, a checkpoint every other one; one validation


@HOOKS.register_module()
class DrawHook(Hook):
    """Writes down a random number of the model's part of each iteration."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        runner.message_hub.update_scalar('train/loss_drawn', torch.rand(()).item())


@HOOKS.register_module()
class KillHook(Hook):
    """Kills its own process with SIGKILL, at a place of the training."""

    priority = 'LOWEST'

    def __init__(self, place, iteration):
        self.place, self.iteration = place, iteration

    def kill_at(self, place, runner):
        if (place, runner.iter) == (self.place, self.iteration):
            os.kill(os.getpid(), signal.SIGKILL)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.kill_at('iteration', runner)

    def before_save_checkpoint(self, runner, checkpoint):
        self.kill_at('write', runner)

    def before_val_epoch(self, runner):
        self.kill_at('validation', runner)

    def after_val_epoch(self, runner, metrics=None):
        self.kill_at('validated', runner)


def train(folder, data, place=None, iteration=0, **options):
    """The exit code of a training in ``folder``."""
    folder.mkdir(exist_ok=True)
    config = folder / 'config.py'
    config.write_text(small_demo(BASE, data, folder, EPOCHS))

    def run():
        cfg = Config.fromfile(config)
        cfg.merge_from_dict(options)
        cfg.custom_hooks += [
            dict(type='DrawHook'),
            dict(type='KillHook', place=place, iteration=iteration),
        ]
        RUNNERS.build(cfg).train()

    process = multiprocessing.get_context('fork').Process(target=run)
    process.start()
    process.join()
    return process.exitcode


def scalars(folder):
    """What the last log of a folder has, newest last."""
    path = sorted(folder.glob('*/vis_data/scalars.json'))[-1]
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'demo'
    make_demo_data(root, num_train=16, num_val=2, size=64)
    return root


@pytest.fixture(scope='module')
def whole(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp('runs') / 'whole'
    assert train(folder, data) == 0
    return folder


def assert_same_end(whole, folder, name='iter_8.pth'):
    names, count = differences(whole / 'iter_8.pth', folder / name)
    assert not names
    assert count > 500
    files = [path / 'val.bbox.json' for path in (whole, folder)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(files[0].read_bytes()) > 10000


def test_killed_and_resumed(tmp_path, data, whole):
    # Iterations count from 0: iter_6.pth is written after iteration 5.
    for place, iteration, begin in [
        ('iteration', 3, 0),  # after the last iteration of an epoch
        ('write', 5, 4),
        ('iteration', 6, 4),  # within an epoch
        ('validation', 8, 6),
        ('validated', 8, 8),
    ]:
        code = train(tmp_path, data, place, iteration, resume=True)
        assert code == -signal.SIGKILL, place
        assert bool(list(tmp_path.glob('.*.pth.*'))) == (place == 'write')
        steps = [row['step'] for row in scalars(tmp_path) if 'loss' in row]
        assert steps == list(range(begin + 1, min(iteration, 7) + 2)), place
    assert train(tmp_path, data, resume=True) == 0
    assert_same_end(whole, tmp_path)


def test_checkpoints_of_epochs(tmp_path, data, whole):
    epochs = {
        'default_hooks.checkpoint.by_epoch': True,
        'default_hooks.checkpoint.interval': 1,
    }
    for place, iteration in ('iteration', 5), ('validation', 8):
        code = train(tmp_path, data, place, iteration, resume=True, **epochs)
        assert code == -signal.SIGKILL, place
    assert train(tmp_path, data, resume=True, **epochs) == 0
    assert_same_end(whole, tmp_path, 'epoch_2.pth')


def test_loop_over_iterations(tmp_path, data):
    options = dict(
        train_cfg=dict(_delete_=True, type='IterBasedTrainLoop', max_iters=6),
        val_cfg=None,
        val_dataloader=None,
        val_evaluator=None,
        **{'train_dataloader.sampler.type': 'InfiniteSampler'},
    )
    one, other = tmp_path / 'one', tmp_path / 'other'
    assert train(one, data, **options) == 0
    assert train(other, data, 'iteration', 4, **options) == -signal.SIGKILL
    assert train(other, data, resume=True, **options) == 0
    assert not differences(one / 'iter_6.pth', other / 'iter_6.pth')[0]


def test_workers_change_nothing(tmp_path, data, whole):
    """Nor does a config without a seed: it is in the checkpoint."""
    workers = {
        'train_dataloader.num_workers': 2,
        'train_dataloader.persistent_workers': True,
    }
    assert train(tmp_path, data, 'iteration', 6, **workers) == -signal.SIGKILL
    assert (
        train(tmp_path, data, resume=True, **workers, **{'randomness.seed': None}) == 0
    )
    assert_same_end(whole, tmp_path)


class Counting(BaseModel):
    """Its loss is the numbers of the images that it was given."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, inputs, mode):
        return dict(loss=self.weight + inputs.sum())


def count(folder, epochs, batch_size=2, by_config=True, **options):
    """Trains on twelve numbers in their order.

    Returns:
        The runner, the sums of its batches, their places in the epoch, and
        the warnings of the loop.
    """
    sums, places = [], []

    class Note(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            sums.append(outputs['loss'].round().int().item())
            places.append(batch_idx)

    data = dict(dataset=TensorDataset(torch.arange(12.0)), batch_size=batch_size)
    loader = (
        dict(
            data,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        )
        if by_config
        else DataLoader(**data)
    )
    with patch('tresnet_det.training.runner.loops.print_log') as log:
        runner = ResumableRunner(
            Counting(),
            str(folder),
            loader,
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-9)),
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', interval=4, by_epoch=False)
            ),
            custom_hooks=[Note()],
            experiment_name=f'{folder}_{options}',
            randomness=dict(seed=0),
            **options,
        )
        runner.train()
    return runner, sums, places, [call.args[0] for call in log.call_args_list]


@pytest.mark.parametrize('by_config', [True, False])
def test_within_an_epoch(tmp_path, by_config):
    """A loader that was handed over is no reason to train for longer."""
    count(tmp_path / 'a', 2, by_config=by_config)
    resumed, sums, places, warnings = count(
        tmp_path / 'b',
        2,
        by_config=by_config,
        resume=True,
        load_from=str(tmp_path / 'a' / 'iter_4.pth'),
    )
    assert resumed.iter == 12
    assert sums == [17, 21, 1, 5, 9, 13, 17, 21]
    assert places == [4, 5, 0, 1, 2, 3, 4, 5]
    assert len(warnings) == 1 - by_config
    assert by_config or 'the first 4 batches' in warnings[0]


@pytest.mark.parametrize(
    'checkpoint, anew', [('iter_4.pth', True), ('iter_6.pth', False)]
)
def test_other_batches(tmp_path, checkpoint, anew):
    """At the end of an epoch it shows in the schedules alone."""
    count(tmp_path / 'a', 1)
    resumed, sums, _, (warning, *more) = count(
        tmp_path / 'b',
        2,
        batch_size=4,
        resume=True,
        load_from=str(tmp_path / 'a' / checkpoint),
    )
    assert 'of epochs of 6 batches, now they have 3' in warning and not more
    assert ('begins anew' in warning) == anew
    assert sums == [6, 22, 38] * (1 + anew)


@contextmanager
def small_disk(folder):
    """A disk on which two checkpoints have room, not three."""
    folder.mkdir()
    if (
        subprocess.run(
            ['mount', '-t', 'tmpfs', '-o', 'size=10m', 'tmpfs', folder],
            stderr=subprocess.DEVNULL,
        ).returncode
        == 0
    ):
        try:
            yield partial(
                subprocess.run,
                check=True,
                args=['mount', '-o', 'remount,size=100m', folder],
            )
        finally:
            subprocess.run(['umount', '-l', folder], check=True)
        return

    def put(backend, content, path):  # who is not root gets a made-up one
        half = 'iter_6' in str(path)
        Path(path).write_bytes(content[: len(content) // (1 + half)])
        if half:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with ExitStack() as stack:
        stack.enter_context(patch('mmengine.fileio.LocalBackend.put', put))
        yield stack.close


def test_disk_full(tmp_path, data, whole, capfd):
    run = tmp_path / 'run'
    with small_disk(run) as make_room:
        assert train(run, data) == 1
        said = capfd.readouterr().err
        assert re.search(
            r'OSError: .* iter_6.pth could not be written \(No space left on '
            r'device; \d+ MiB are free\). Older .* whole: make room and go on '
            f"with --resume: '{run}'",
            said,
        )
        assert sorted(path.name for path in run.glob('*.pth')) == [
            'iter_2.pth',
            'iter_4.pth',
        ]
        assert not list(run.glob('.*.pth.*'))
        assert not any(map(damage, run.glob('*.pth')))
        make_room()
        assert train(run, data, resume=True) == 0
        assert_same_end(whole, run)
