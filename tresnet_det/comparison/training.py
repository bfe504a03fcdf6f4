"""Brings a run to its end: MMDetection's Runner in a process of its own.

A process a run, so that one that fails or is killed takes no other along.
"""

import fcntl
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

from ..common.atomic import written_whole
from ..common.errors import UserError
from ..environment.versions import PACKAGE, commit
from .equality import evaluator_of
from .run import Run

__all__ = ['evaluate', 'train']

TOOLS = PACKAGE / '.mim' / 'tools'
HEARTBEAT = 30  # seconds between looks at a run's log


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
            print(
                f'{run}: a process that an earlier comparison began is '
                f'still at work there; waiting for it',
                flush=True,
            )
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _call(
    run: Run, lock: int, tool: str, *arguments: str, gpus: int | None = None
) -> None:
    """Runs one of our tools; its output goes to ``output.log``.

    Raises:
        RuntimeError: It failed; the last lines of its output.
    """
    launcher: list[str] = []
    gpus = gpus or run.gpus or 1
    if gpus > 1:
        launcher = [
            '-m',
            'torch.distributed.run',
            '--standalone',
            f'--nproc_per_node={gpus}',
        ]
        arguments += ('--launcher', 'pytorch')
    command = [sys.executable, *launcher, str(TOOLS / tool), *arguments]
    log = run.out_dir / 'output.log'
    with open(log, 'a') as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, pass_fds=[lock]
        )
    shown = ''
    try:
        while True:
            try:
                status = process.wait(HEARTBEAT)
                break
            except subprocess.TimeoutExpired:
                lines = [
                    line
                    for line in log.read_text(errors='replace').splitlines()[-40:]
                    if ' eta: ' in line
                ]
                if lines and lines[-1] != shown:
                    shown = lines[-1]
                    print(f'{run}: {shown.partition("INFO - ")[2][:120]}', flush=True)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    if status:
        raise RuntimeError(
            f'{tool} stopped with status {status}:\n'
            f'{_last_words(log.read_text(errors="replace"))}\n'
            f'(all of it: {log})'
        )


def _last_words(text: str) -> str:
    """Why a tool stopped: its last error, else its last lines.

    What a launcher says after that is about processes only.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [
        line
        for line in lines
        if re.match(
            r'(\[rank\d+\]: )?([\w.]*error\b|[\w.]+Error\b)', line, re.IGNORECASE
        )
        and 'ChildFailedError' not in line
    ]
    return '\n'.join(errors[-1:] or lines[-3:])


def train(run: Run) -> None:
    """Trains a planned run from where it is to its end, on this machine.

    Args:
        run: What to train; nothing is done if it is finished.

    Raises:
        RuntimeError: The training failed.
        UserError: None of its checkpoints is whole.
    """
    with _claimed(run) as lock:
        begun = run.checkpoint is not None
        if run.finished:
            return
        config = run.out_dir / 'config' / f'{run.arm}.py'
        with written_whole(config) as part:
            run.cfg.dump(part)
        with open(run.work_dir / 'started.jsonl', 'a') as record:
            record.write(
                json.dumps(
                    dict(
                        time=time.strftime('%F %T'),
                        code=commit(),
                        after=run.done,
                        processes=run.gpus,
                    )
                )
                + '\n'
            )
        _call(
            run,
            lock,
            'train.py',
            str(config),
            '--work-dir',
            # MMDetection's --resume leaves load_from out.
            str(run.work_dir),
            *(['--resume'] if begun else []),
        )
        run.ended.touch()


def evaluate(run: Run, gpus: int = 1) -> None:
    """Writes a finished run's detections on the val split.

    Args:
        run: What to evaluate; nothing is done if it is not finished, or if
            the detections are of its last checkpoint and annotations.
        gpus: Processes.

    Raises:
        RuntimeError: The evaluation failed.
        UserError: Its checkpoints are gone.
    """
    with _claimed(run) as lock:
        if not run.finished or run.is_evaluated:
            return
        if run.checkpoint is None:
            raise UserError(
                f'{run.work_dir} was trained to its end, but no checkpoint is left to '
                f'evaluate; to train it again delete {run.ended}'
            )
        run.evaluated.unlink(missing_ok=True)
        with written_whole(run.detections) as part:
            cfg = deepcopy(run.cfg)
            # A run that was resumed wrote that into its config.
            cfg.merge_from_dict(dict(resume=False, load_from=None))
            cfg.test_cfg = dict(type='TestLoop')
            cfg.test_dataloader = cfg.val_dataloader
            cfg.test_evaluator = dict(
                evaluator_of(cfg), outfile_prefix=str(part).removesuffix('.bbox.json')
            )
            config = run.out_dir / 'config' / f'{run.arm}_evaluation.py'
            with written_whole(config) as half:
                cfg.dump(half)
            _call(
                run,
                lock,
                'test.py',
                str(config),
                str(run.checkpoint),
                '--work-dir',
                str(run.out_dir / 'evaluation'),
                gpus=gpus,
            )
        with written_whole(run.evaluated) as half:
            half.write_text(json.dumps(run.subject))
