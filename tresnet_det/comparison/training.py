"""Brings a run to its end: MMDetection's Runner in a process of its own.

A process a run, so that one that fails or is killed takes no other along.
"""

import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import tresnet_det

from ..atomic import written_whole
from .plan import Run, evaluator_of

__all__ = ['commit', 'evaluate', 'train']

TOOLS = Path(tresnet_det.__file__).parent / '.mim' / 'tools'
HEARTBEAT = 30  # seconds between looks at a run's log


def commit() -> str:
    """The version of this package and, in a clone, git's name of it."""
    described = subprocess.run(
        ['git', 'describe', '--always', '--dirty', '--abbrev=10'],
        cwd=Path(tresnet_det.__file__).parent, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True)
    version = f'tresnet_det {tresnet_det.__version__}'
    if described.returncode:
        return version
    return f'{version}, commit {described.stdout.strip()}'


@contextmanager
def _claimed(run: Run) -> Iterator[int]:
    """Waits until no process works on a run; gives the lock's descriptor.

    A comparison that is killed leaves its training behind. That keeps the
    lock, so the next comparison waits for it instead of writing to the same
    files.
    """
    run.out_dir.mkdir(parents=True, exist_ok=True)
    with open(run.out_dir / '.lock', 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f'{run}: a process that an earlier comparison began is '
                  f'still at work there; waiting for it', flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _call(run: Run, lock: int, gpus: int, tool: str, *arguments: str) -> None:
    """Runs one of our tools; its output goes to ``output.log``.

    Raises:
        RuntimeError: It failed; the last lines of its output.
    """
    launcher: list[str] = []
    if gpus > 1:
        launcher = ['-m', 'torch.distributed.run', '--standalone',
                    f'--nproc_per_node={gpus}']
        arguments += ('--launcher', 'pytorch')
    command = [sys.executable, *launcher, str(TOOLS / tool), *arguments]
    log = run.out_dir / 'output.log'
    with open(log, 'a') as output:
        process = subprocess.Popen(command, stdout=output,
                                   stderr=subprocess.STDOUT, pass_fds=[lock])
    shown = ''
    try:
        while True:
            try:
                status = process.wait(HEARTBEAT)
                break
            except subprocess.TimeoutExpired:
                lines = [line for line in log.read_text(
                    errors='replace').splitlines()[-40:] if ' eta: ' in line]
                if lines and lines[-1] != shown:
                    shown = lines[-1]
                    print(f'{run}: {shown.partition("INFO - ")[2][:120]}',
                          flush=True)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    if status:
        last = [line for line in log.read_text(errors='replace').splitlines()
                if line.strip()][-3:]
        raise RuntimeError(f'{tool} stopped with status {status}:\n'
                           + '\n'.join(last) + f'\n(all of it: {log})')


def train(run: Run, gpus: int = 1) -> None:
    """Trains a run from where it is to its end, on this machine.

    Args:
        run: What to train; nothing is done if it is finished.
        gpus: Processes, one a GPU.

    Raises:
        RuntimeError: The training failed.
    """
    with _claimed(run) as lock:
        if run.finished:
            return
        config = run.out_dir / 'config' / f'{run.arm}.py'
        with written_whole(config) as part:
            run.cfg.dump(part)
        with open(run.work_dir / 'started.jsonl', 'a') as record:
            record.write(json.dumps(dict(
                time=time.strftime('%F %T'), code=commit(), after=run.done,
                processes=gpus)) + '\n')
        _call(run, lock, gpus, 'train.py', str(config), '--work-dir',
              str(run.work_dir), '--resume')


def evaluate(run: Run, gpus: int = 1) -> None:
    """Writes a finished run's detections on the val split, once.

    Raises:
        RuntimeError: The evaluation failed.
    """
    with _claimed(run) as lock:
        if run.detections.exists():
            return
        with written_whole(run.detections) as part:
            cfg = deepcopy(run.cfg)
            cfg.test_cfg = dict(type='TestLoop')
            cfg.test_dataloader = cfg.val_dataloader
            cfg.test_evaluator = dict(
                evaluator_of(cfg),
                outfile_prefix=str(part).removesuffix('.bbox.json'))
            config = run.out_dir / 'config' / f'{run.arm}_evaluation.py'
            with written_whole(config) as half:
                cfg.dump(half)
            _call(run, lock, gpus, 'test.py', str(config),
                  str(run.checkpoint), '--work-dir',
                  str(run.out_dir / 'evaluation'))
