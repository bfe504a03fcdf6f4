"""Two gloo processes train as one process with all the images.

The processes are forked: no import is done twice.
"""

import multiprocessing
import os
import socket
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS

import tresnet_det  # noqa: F401
from tresnet_det.compare_processes import read_losses
from tresnet_det.demo_data import make_demo_data
from tresnet_det.small_demo import small_demo

BASE = Path(__file__).parents[1] / 'configs/demo/fcos_tresnet-m_fpn_demo.py'
FORK = multiprocessing.get_context('fork')


def train(folder, data, processes, norm, norm_eval=False):
    """Losses of three iterations, and the state dict after them."""
    folder.mkdir()
    config = folder / 'config.py'
    config.write_text(small_demo(BASE, data, folder, 1, processes=processes,
                                 norm=norm))
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]

    def run(rank):
        cfg = Config.fromfile(config)
        cfg.launcher = 'pytorch' if processes > 1 else 'none'
        cfg.model.backbone.norm_eval = norm_eval
        # AdamW's first steps have one size, however small the gradient.
        cfg.optim_wrapper.optimizer = dict(
            type='SGD', lr=0.1, weight_decay=1e-4)
        cfg.custom_hooks = [dict(type='MeanLossHook')]
        for part in ('dataloader', 'evaluator', 'cfg'):
            cfg[f'val_{part}'] = None
        environment = dict(
            MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), RANK=str(rank),
            LOCAL_RANK=str(rank), WORLD_SIZE=str(processes))
        with patch.dict(os.environ, environment), \
                patch('mmengine.runner.runner.collect_env', dict), \
                patch.object(Config, 'pretty_text', ''):
            RUNNERS.build(cfg).train()

    workers = [FORK.Process(target=run, args=(rank, ))
               for rank in range(processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * processes
    state = torch.load(folder / 'iter_3.pth')['state_dict']
    return read_losses(folder), state


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'demo'
    make_demo_data(root, num_train=12, num_val=1, size=64)
    return root


def by_halves(self, x):
    """Batch norm with the statistics of the images of each of two processes,
    which take turns with the images of a batch."""
    halves = [torch.nn.functional.batch_norm(
        x[rank::2], None, None, self.weight, self.bias, True, 0., self.eps)
        for rank in (0, 1)]
    return torch.stack(halves, 1).flatten(0, 1)


def assert_same(one, two):
    # Losses are computed in float32, and summed in another order.
    assert two[0] == pytest.approx(one[0], rel=1e-6)
    for name, value in one[1].items():
        if 'running' not in name and 'tracked' not in name:
            torch.testing.assert_close(two[1][name], value, rtol=1e-4,
                                       atol=1e-6, msg=name)


@pytest.mark.parametrize('norm, norm_eval', [
    ('SyncInPlaceABN', False), ('InPlaceABN', True)])
def test_two_processes_equal_one(tmp_path, data, norm, norm_eval):
    one = train(tmp_path / 'one', data, 1, norm, norm_eval)
    assert len(one[0]) == 3
    assert_same(one, train(tmp_path / 'two', data, 2, norm, norm_eval))


def test_unsynchronised_statistics_are_those_of_a_process(tmp_path, data):
    whole = train(tmp_path / 'whole', data, 1, 'InPlaceABN')
    two = train(tmp_path / 'two', data, 2, 'InPlaceABN')
    assert two[0] != pytest.approx(whole[0], rel=1e-4)
    with patch('torch.nn.BatchNorm2d.forward', by_halves):
        one = train(tmp_path / 'one', data, 1, 'BN')
    assert_same(one, two)
