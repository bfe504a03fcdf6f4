"""Two gloo processes train as one process with all the images.

The processes are forked: no import is done twice.
"""

import multiprocessing
import os
import signal
import socket
import sys
from pathlib import Path
from unittest.mock import patch

import machines as compare_processes
import pytest
import test_loops  # noqa: F401  has a hook that kills
import torch
from killing import differences
from machines import Machine, read_losses, run_on_machines, unequal
from mmengine.config import Config
from mmengine.registry import RUNNERS
from small_demo import small_demo

import tresnet_det  # noqa: F401
from tresnet_det.data.demo_data import make_demo_data
from tresnet_det.weights.safe_globals import load

BASE = Path(__file__).parents[2] / 'configs/demo/fcos_tresnet-m_fpn_demo.py'
LIMIT = 120  # seconds for a few steps, on a machine that does other things
FORK = multiprocessing.get_context('fork')


def train(folder, data, processes, norm, norm_eval=False, killed=None):
    """Losses of three iterations, and the checkpoint after them.

    killed is the process that dies after the second iteration.
    """
    folder.mkdir(exist_ok=True)
    config = folder / 'config.py'
    config.write_text(small_demo(BASE, data, folder, 1, processes=processes, norm=norm))
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]

    def run(rank):
        cfg = Config.fromfile(config)
        cfg.launcher = 'pytorch' if processes > 1 else 'none'
        cfg.model.backbone.norm_eval = norm_eval
        # AdamW's first steps have one size, however small the gradient.
        cfg.optim_wrapper.optimizer = dict(type='SGD', lr=0.1, weight_decay=1e-4)
        cfg.custom_hooks = [dict(type='MeanLossHook')]
        if rank == killed:
            cfg.custom_hooks.append(
                dict(type='KillHook', place='iteration', iteration=1)
            )
        cfg.resume = True
        for part in ('dataloader', 'evaluator', 'cfg'):
            cfg[f'val_{part}'] = None
        environment = dict(
            MASTER_ADDR='127.0.0.1',
            MASTER_PORT=str(port),
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(processes),
        )
        with patch.dict(os.environ, environment):
            RUNNERS.build(cfg).train()

    workers = [FORK.Process(target=run, args=(rank,)) for rank in range(processes)]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join(LIMIT)
        codes = [worker.exitcode for worker in workers]
    finally:  # one that waits for another for ever must not outlive the test
        for worker in workers:
            worker.kill()
    if killed is not None:
        assert codes == [
            -signal.SIGKILL if rank == killed else 1 for rank in range(processes)
        ]
        return None
    assert codes == [0] * processes
    return read_losses(folder), load(folder / 'iter_3.pth')['state_dict']


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'demo'
    make_demo_data(root, num_train=12, num_val=1, size=64)
    return root


@pytest.fixture(scope='module')
def synchronised(tmp_path_factory, data):
    """Folder and result of two processes with common statistics."""
    folder = tmp_path_factory.mktemp('runs') / 'synchronised'
    return folder, train(folder, data, 2, 'SyncInPlaceABN')


def by_halves(self, x):
    """Batch norm with the statistics of the images of each of two processes,
    which take turns with the images of a batch."""
    halves = [
        torch.nn.functional.batch_norm(
            x[rank::2], None, None, self.weight, self.bias, True, 0.0, self.eps
        )
        for rank in (0, 1)
    ]
    return torch.stack(halves, 1).flatten(0, 1)


def assert_same(one, two):
    # Losses are computed in float32, and summed in another order.
    assert two[0] == pytest.approx(one[0], rel=1e-6)
    for name, value in one[1].items():
        if 'running' not in name and 'tracked' not in name:
            torch.testing.assert_close(
                two[1][name], value, rtol=1e-4, atol=1e-6, msg=name
            )


def test_common_statistics_are_those_of_one_process(tmp_path, data, synchronised):
    one = train(tmp_path / 'one', data, 1, 'SyncInPlaceABN')
    assert len(one[0]) == 3
    assert_same(one, synchronised[1])


def test_running_statistics_need_no_synchronising(tmp_path, data):
    assert_same(
        train(tmp_path / 'one', data, 1, 'InPlaceABN', True),
        train(tmp_path / 'two', data, 2, 'InPlaceABN', True),
    )


def test_a_killed_process_ends_the_other_and_the_run_resumes(
    tmp_path, data, synchronised
):
    folder = tmp_path / 'killed'
    train(folder, data, 2, 'SyncInPlaceABN', killed=1)
    assert not (folder / 'iter_3.pth').exists()
    losses, _ = train(folder, data, 2, 'SyncInPlaceABN')
    assert losses == synchronised[1][0]
    names, _ = differences(folder / 'iter_3.pth', synchronised[0] / 'iter_3.pth')
    assert not names


def test_unsynchronised_statistics_are_those_of_a_process(tmp_path, data):
    whole = train(tmp_path / 'whole', data, 1, 'InPlaceABN')
    two = train(tmp_path / 'two', data, 2, 'InPlaceABN')
    assert two[0] != pytest.approx(whole[0], rel=1e-4)
    with patch('torch.nn.BatchNorm2d.forward', by_halves):
        one = train(tmp_path / 'one', data, 1, 'BN')
    assert_same(one, two)


def test_rows_that_differ_are_named():
    rows = dict(
        one=[2.0, 1.0], two=[2.0 + 1e-6, 1.0], three=[2.0, 1.0 + 2e-6], four=[2.0]
    )
    assert unequal(rows) == ['three', 'four']
    assert unequal({}) == [] and unequal(dict(one=[])) == ['one']


def test_a_machine_that_goes_on_is_told_and_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(compare_processes, 'STOPPED_WITHIN', 0.5)
    script = tmp_path / 'launcher.py'
    script.write_text(
        'import os, subprocess, sys, time\n'
        'if os.environ["NODE_RANK"] == "0":\n'
        '    time.sleep(60)\n'
        'child = subprocess.Popen(["sleep", "60"])\n'
        f'open({str(tmp_path / "run/last_checkpoint")!r}, "w").close()\n'
        'sys.exit(child.wait())\n'
    )
    (tmp_path / 'run').mkdir()
    machines = [Machine(['env'], '127.0.0.1')] * 2
    with pytest.raises(RuntimeError, match='still runs, 0.5 s after'):
        run_on_machines([sys.executable, script], machines, tmp_path / 'run', kill=1)
