"""The shell commands for several processes and for Slurm."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from killing import Moment, run_and_kill
from small_demo import small_demo

from tresnet_det.data.demo_data import make_demo_data

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools'
NAMES = ['dist_test', 'dist_train', 'slurm_test', 'slurm_train']
RIGHT = dict(
    dist_train=['c onfig.py', '4'],
    dist_test=['c onfig.py', 'epoch 1.pth', '4'],
    slurm_train=['part', 'job', 'c onfig.py', 'work dir'],
    slurm_test=['part', 'job', 'c onfig.py', 'epoch 1.pth'],
)


def call(name, *arguments, **environment):
    return subprocess.run(
        ['bash', TOOLS / f'{name}.sh', *arguments],
        text=True,
        capture_output=True,
        env={**os.environ, **environment},
    )


@pytest.fixture
def said(tmp_path, monkeypatch):
    """What the command would run; python and srun only say it."""
    for name in ('python', 'srun'):
        (tmp_path / name).write_text(
            '#!/bin/sh\nbasename "$0"\nfor word; do echo "$word"; done\n'
        )
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    for name in (
        'NNODES',
        'NODE_RANK',
        'MASTER_ADDR',
        'PORT',
        'GPUS',
        'GPUS_PER_NODE',
        'CPUS_PER_TASK',
        'SRUN_ARGS',
    ):
        monkeypatch.delenv(name, raising=False)

    def words(name, *options, **environment):
        done = call(name, *RIGHT[name], *options, PYTHON='python', **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return words


@pytest.mark.parametrize('name', NAMES)
def test_wrong_arguments_tell_the_usage(name):
    wrong = [[], RIGHT[name][:-1], [*RIGHT[name][:-1], '--resume']]
    for arguments in wrong:
        done = call(name, *arguments)
        assert done.returncode == 2 and not done.stdout
        assert done.stderr.startswith('usage: ')
        assert f'{name}.sh' in done.stderr


@pytest.mark.parametrize('name', NAMES)
def test_syntax_and_mode(name):
    file = TOOLS / f'{name}.sh'
    assert os.access(file, os.X_OK)
    assert subprocess.run(['bash', '-n', file]).returncode == 0


@pytest.mark.parametrize('name', ['dist_train', 'dist_test'])
def test_torchrun_gets(said, name):
    tool = name.partition('_')[2] + '.py'
    options = ['--cfg-options', "work_dir='a b'"]
    expected = [
        'python',
        '-m',
        'torch.distributed.run',
        '--nnodes',
        '1',
        '--node_rank',
        '0',
        '--master_addr',
        '127.0.0.1',
        '--master_port',
        '29500',
        '--nproc_per_node',
        '4',
        str(TOOLS / tool),
        *RIGHT[name][:-1],
        '--launcher',
        'pytorch',
        *options,
    ]
    assert said(name, *options) == expected
    words = said(name, NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.7', PORT='29501')
    assert words[3:11] == [
        '--nnodes',
        '2',
        '--node_rank',
        '1',
        '--master_addr',
        '10.0.0.7',
        '--master_port',
        '29501',
    ]


@pytest.mark.parametrize(
    'name, end',
    [('slurm_train', ['--work-dir', 'work dir']), ('slurm_test', ['epoch 1.pth'])],
)
def test_srun_gets(said, name, end):
    tool = name.partition('_')[2] + '.py'
    assert said(name, '--resume') == [
        'srun',
        '--partition=part',
        '--job-name=job',
        '--gres=gpu:8',
        '--ntasks=8',
        '--ntasks-per-node=8',
        '--cpus-per-task=5',
        '--kill-on-bad-exit=1',
        'python',
        '-u',
        str(TOOLS / tool),
        'c onfig.py',
        *end,
        '--launcher',
        'slurm',
        '--resume',
    ]
    words = said(
        name,
        GPUS='16',
        GPUS_PER_NODE='4',
        CPUS_PER_TASK='2',
        SRUN_ARGS='--qos=high --time=1:00',
    )
    assert words[3:10] == [
        '--gres=gpu:4',
        '--ntasks=16',
        '--ntasks-per-node=4',
        '--cpus-per-task=2',
        '--kill-on-bad-exit=1',
        '--qos=high',
        '--time=1:00',
    ]
    assert '--ntasks-per-node=2' in said(name, GPUS='2')


@pytest.mark.long
def test_two_processes_train_and_one_killed_ends_both(tmp_path, monkeypatch):
    """What resumes from there: test_compare_processes.py."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        monkeypatch.setenv('PORT', str(free.getsockname()[1]))
    monkeypatch.setenv('PYTHON', sys.executable)
    make_demo_data(tmp_path / 'data', num_train=16, num_val=1, size=64)
    config, work_dir = tmp_path / 'config.py', tmp_path / 'run'
    config.write_text(
        small_demo(
            ROOT / 'configs/demo/fcos_tresnet-m_fpn_demo.py',
            tmp_path / 'data',
            work_dir,
            1,
            processes=2,
            norm='SyncInPlaceABN',
        )
    )
    command = ['bash', TOOLS / 'dist_train.sh', config, 2]
    log = tmp_path / 'log'
    kill = run_and_kill(command, work_dir, log, Moment('write', 0.0), worker=1)
    assert kill is not None and kill.ended < 60
    assert f'Signal {signal.SIGKILL:d} (SIGKILL) received' in log.read_text()
