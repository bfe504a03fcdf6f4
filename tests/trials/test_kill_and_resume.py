"""The fault harness itself, on a training that is a few lines."""

import random
import signal
import sys

import numpy as np
import pytest
import torch
from killing import (
    Kill,
    Moment,
    differences,
    draw_moments,
    kill_again_and_again,
    not_tried,
    run_and_kill,
)

import tresnet_det  # noqa: F401  allows safe checkpoint classes

# Counts to 199 in a file of its own for each number, written slowly.
TRAINING = """
import os, sys, time
from pathlib import Path
folder, silent = Path(sys.argv[1]), sys.argv[2:]
last = folder / 'last_checkpoint'
start = 0
for file in sorted(folder.glob('iter_*.pth'), reverse=True):
    content = file.read_bytes()
    if content == bytes([len(content) // 100]) * len(content):
        start = len(content) // 100
        break
    if not silent:
        print(f'damaged checkpoint left out: {file}', flush=True)
print('Epoch(train)', flush=True)
for number in range(start + 1, 200):
    part = folder / f'.iter_{number:03}.pth.{number:08}'
    part.mkdir(exist_ok=True)
    with open(part / 'file', 'wb', buffering=0) as stream:
        stream.write(b' ')
        time.sleep(0.002)
        stream.seek(0)
        stream.write(bytes([number]) * number * 100)
    file = folder / f'iter_{number:03}.pth'
    os.replace(part / 'file', file)
    part.rmdir()
    last.write_text(str(file))
    time.sleep(0.002)
"""


@pytest.fixture
def training(tmp_path):
    (tmp_path / 'training.py').write_text(TRAINING)
    (tmp_path / 'run').mkdir()
    return [sys.executable, tmp_path / 'training.py', tmp_path / 'run']


def test_kills_hit_writes_and_damage_is_named(tmp_path, training):
    moments = [Moment('bytes', 0.0, 3)] * 8
    kills = list(kill_again_and_again(training, tmp_path / 'run', tmp_path, moments))
    assert len(kills) == 8
    # On a busy machine some of the writes end before the signal arrives.
    assert any(kill.unfinished for kill in kills)
    damages = [kill.damage.partition(' ')[2] for kill in kills if kill.damage]
    assert damages == ['cut in half', 'with one bit turned']
    assert not not_tried(kills)
    files = len(list((tmp_path / 'run').glob('iter_*.pth')))
    assert files >= 8 * 2 - 3  # each got on, but for what was damaged
    assert run_and_kill(training, tmp_path / 'run', tmp_path / 'log') is None
    assert (tmp_path / 'run' / 'iter_199.pth').exists()


def test_what_kills_did_not_meet_is_told():
    cut, turned, written = (
        Kill(1.0, 0.0, {}, 'iter_2.pth cut in half'),
        Kill(1.0, 0.0, {}, 'iter_6.pth with one bit turned'),
        Kill(1.0, 0.0, {'.iter_8.pth.1': 7}),
    )
    assert not not_tried([cut, turned, written])
    assert not_tried([turned, written]) == ['a checkpoint cut in half']
    assert not_tried([cut, written]) == ['a checkpoint with one bit turned']
    assert not_tried([cut, turned]) == ['a kill in the writing of a checkpoint']


def test_unnamed_damage_is_told(tmp_path, training):
    with pytest.raises(RuntimeError, match='does not name .*which is damaged'):
        list(
            kill_again_and_again(
                [*training, 'silent'],
                tmp_path / 'run',
                tmp_path,
                [Moment('write', 0.0, 3)] * 8,
            )
        )


def test_an_end_before_the_kill_and_a_failure_are_told(tmp_path, training):
    with pytest.raises(RuntimeError, match='ended before kill 1 of 1'):
        list(
            kill_again_and_again(
                training, tmp_path / 'run', tmp_path, [Moment('write', 0.0, 1000)]
            )
        )
    with pytest.raises(RuntimeError, match='status 3: no such luck'):
        run_and_kill(
            [sys.executable, '-c', 'print("no such luck"); raise SystemExit(3)'],
            tmp_path,
            tmp_path / 'log',
        )


def test_a_launchers_child_is_killed(tmp_path):
    script = (
        'import subprocess, sys; child = subprocess.Popen(["sleep", '
        '"60"]); print("child ended by", -child.wait(), flush=True)'
    )
    kill = run_and_kill(
        [sys.executable, '-c', script],
        tmp_path,
        tmp_path / 'log',
        Moment('start', 0.3),
        worker=0,
    )
    assert kill is not None
    assert (tmp_path / 'log').read_text().strip() == (
        f'child ended by {signal.SIGKILL:d}'
    )


def test_moments_are_the_seeds():
    moments = list(draw_moments(20, seed=0))
    assert moments == list(draw_moments(20, seed=0))
    assert moments != list(draw_moments(20, seed=1))
    assert {moment.event for moment in moments} == {
        'start',
        'training',
        'write',
        'bytes',
    }


@pytest.mark.parametrize(
    'change',
    [
        lambda c: c['state_dict']['w'].data.view(torch.int32).bitwise_xor_(1),
        lambda c: c['optimizer']['state'][0].update(step=torch.tensor(4.0)),
        lambda c: c['optimizer']['state'].pop(0),
        lambda c: c['meta'].update(iter=8),
        lambda c: c.update(ema_state_dict={}, param_schedulers=[]),
    ],
)
def test_a_single_bit_is_a_difference(tmp_path, change):
    def content():
        return dict(
            meta=dict(epoch=1, iter=7, seed=0, time=random.random()),
            state_dict=dict(w=torch.ones(3)),
            optimizer=dict(state={0: dict(step=torch.tensor(3.0))}),
            param_schedulers=[dict(last_step=1, lr=[0.1])],
            message_hub=dict(
                log_scalars={}, runtime_info=dict(time=np.float64(random.random()))
            ),
        )

    other = content()
    change(other)
    for name, stuff in zip('abc', (content(), content(), other)):
        torch.save(stuff, tmp_path / f'{name}.pth')
    assert differences(tmp_path / 'a.pth', tmp_path / 'b.pth') == ([], 8)
    names, _ = differences(tmp_path / 'a.pth', tmp_path / 'c.pth')
    assert names
