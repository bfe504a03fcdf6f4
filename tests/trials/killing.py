"""A fault harness: kills a training again and again, and compares the end."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from tresnet_det.weights.safe_globals import load

__all__ = [
    'Kill',
    'Moment',
    'children',
    'damage_file',
    'differences',
    'draw_moments',
    'kill_again_and_again',
    'not_tried',
    'run_and_kill',
]

CUT, TURNED = 'cut in half', 'with one bit turned'


class Moment(NamedTuple):
    """When to kill.

    Attributes:
        event: What to wait for: 'start' of the process, 'training' begun,
            a 'write' of a checkpoint begun, or its first 'bytes'.
        delay: Seconds to wait after that.
        writes: How many of them must have begun, for the latter two.
    """

    event: str
    delay: float
    writes: int = 1


class Kill(NamedTuple):
    """What a kill met.

    Attributes:
        seconds: From the start of the process.
        ended: From the kill to the end of the command, in seconds.
        unfinished: Files that were being written, with their size in bytes.
        damage: What was done to the last checkpoint afterwards.
    """

    seconds: float
    ended: float
    unfinished: dict[str, int]
    damage: str = ''


def draw_moments(count: int, seed: int) -> Iterator[Moment]:
    """Random moments; every other one is in the writing of a checkpoint."""
    rng = random.Random(seed)
    longest = dict(start=10, write=0.1, training=4, bytes=0)  # seconds
    for number in range(count):
        event = list(longest)[number % len(longest)]
        yield Moment(event, rng.uniform(0, longest[event]), rng.randint(1, 6))


def kill_again_and_again(
    command: list,
    work_dir: Path,
    logs: Path,
    moments: Iterable[Moment],
    processes: int = 1,
) -> Iterator[Kill]:
    """Starts a training and kills it, for each moment once.

    Twice in between, where the run has two checkpoints at least, the last one
    is cut in half or gets a wrong bit; the next start must say so.

    Args:
        command: Starts the training or resumes it.
        work_dir: Where it writes its checkpoints.
        logs: Folder for what it says.
        moments: When to kill.
        processes: Above 1 the command is a launcher, and its processes are
            killed in turn.

    Raises:
        RuntimeError: The training failed or ended by itself, or it did not
            name the damaged checkpoint.
    """
    moments = list(moments)
    damaged, to_come = None, [True, False]  # truncated, a wrong bit
    for number, moment in enumerate(moments, start=1):
        log = logs / f'kill_{number}.log'
        kill = run_and_kill(
            command,
            work_dir,
            log,
            moment,
            number % processes if processes > 1 else None,
        )
        if kill is None:
            raise RuntimeError(
                f'the training ended before kill {number} of '
                f'{len(moments)}; give it more epochs'
            )
        said = log.read_text(errors='replace')
        if damaged and 'Epoch(train)' in said:
            if f'damaged checkpoint left out: {damaged}' not in said:
                raise RuntimeError(f'{log} does not name {damaged}, which is damaged')
            damaged = None
        if (
            to_come
            and number > len(moments) * (3 - len(to_come)) / 4
            and len([*work_dir.glob('iter_*.pth')]) > 1
        ):
            # Not what last_checkpoint names: the kill may have come before that.
            damaged = str(max(work_dir.glob('iter_*.pth')))
            kill = kill._replace(
                damage=f'{Path(damaged).name} '
                + damage_file(Path(damaged), truncate=to_come.pop(0))
            )
        yield kill


def run_and_kill(
    command: list,
    work_dir: Path,
    log: Path,
    moment: Moment | None = None,
    worker: int | None = None,
) -> Kill | None:
    """Runs a training and kills it with SIGKILL.

    Args:
        command: Of the training.
        work_dir: Where it writes its checkpoints.
        log: File for all that it says.
        moment: When to kill; None to let it end.
        worker: Kill this one of the children of the command, not the command.

    Returns:
        What the kill met, None if the training ended by itself.

    Raises:
        RuntimeError: The training failed by itself.
    """
    former = _unfinished(work_dir)
    with open(log, 'wb') as stream:
        start = time.monotonic()
        process = subprocess.Popen(
            [*map(str, command)],
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        if moment is not None and _wait(process, work_dir, log, moment):
            victim = process.pid
            if worker is not None:
                while len(children(victim)) <= worker:  # not started yet
                    time.sleep(0.01)
                victim = children(victim)[worker]
            os.kill(victim, signal.SIGKILL)
            killed = time.monotonic()
            process.wait()
            ended = time.monotonic() - killed
            left = {
                name: size
                for name, size in _unfinished(work_dir).items()
                if name not in former
            }
            return Kill(killed - start, ended, left)
        status = process.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if status:
        raise RuntimeError(
            f'the training stopped with status {status}: '
            + log.read_text(errors='replace')[-2000:]
        )
    return None


def _wait(process: subprocess.Popen, work_dir: Path, log: Path, moment: Moment) -> bool:
    """Waits for the moment; False if the training ended before."""
    former = set(_unfinished(work_dir))
    seen: set[str] = set()

    def come() -> bool:
        if moment.event == 'training':
            return b'Checkpoints will be saved' in log.read_bytes()
        now = _unfinished(work_dir)
        seen.update({*now} - former)
        return len(seen) >= moment.writes and (
            moment.event == 'write' or any(map(now.get, seen))
        )

    while moment.event != 'start' and not come():
        if process.poll() is not None:
            return False
        time.sleep(0.0005)
    time.sleep(moment.delay)
    return process.poll() is None


def _unfinished(work_dir: Path) -> dict[str, int]:
    """Checkpoints that are being written, by the path of the scratch folder,
    and their size so far."""
    found = {}
    for scratch in work_dir.glob('.*.pth.*'):
        with suppress(OSError):  # finished between the two lines
            found[scratch.name] = sum(part.stat().st_size for part in scratch.iterdir())
    return found


def children(pid: int) -> list[int]:
    """Processes that one has started, in the order of their start."""
    return [
        int(child)
        for task in Path(f'/proc/{pid}/task').iterdir()
        for child in (task / 'children').read_text().split()
    ]


def damage_file(path: Path, truncate: bool) -> str:
    """Cuts a file in half, or turns over one bit in the middle of it."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if truncate:
        del content[middle:]
    else:
        content[middle] ^= 1
    path.write_bytes(content)
    return CUT if truncate else TURNED


def not_tried(kills: Iterable[Kill]) -> list[str]:
    """What many kills should have met, and these have not."""
    kills = list(kills)
    missing = [
        f'a checkpoint {what}'
        for what in (CUT, TURNED)
        if not any(kill.damage.endswith(what) for kill in kills)
    ]
    if not any(kill.unfinished for kill in kills):
        missing.append('a kill in the writing of a checkpoint')
    return missing


def differences(one: Path, other: Path) -> tuple[list[str], int]:
    """Where two checkpoints differ by a single bit.

    Compared are weights and their average, optimiser, schedulers, numbers of
    epoch and iteration, seed, and the loss of each iteration.

    Returns:
        The names of what differs, and the count of what was compared.
    """
    first, second = (dict(_leaves(_essence(path))) for path in (one, other))
    names = [
        name
        for name in {**first, **second}
        if name not in first
        or name not in second
        or not _same(first[name], second[name])
    ]
    return names, len(first)


def _essence(path: Path) -> dict:
    """What of a checkpoint must not depend on stops; times do."""
    content = load(path, map_location='cpu')
    meta, hub = content.pop('meta'), content.pop('message_hub')
    return dict(
        content,
        meta={key: meta[key] for key in ('epoch', 'iter', 'seed')},
        history={
            name: buffer.data
            for name, buffer in hub['log_scalars'].items()
            if 'loss' in name or 'grad_norm' in name or '/lr' in name
        },
        best_score=hub['runtime_info'].get('best_score'),
    )


def _leaves(node: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    """All values in nested dicts and lists, by their path."""
    if isinstance(node, (list, tuple)):
        node = dict(enumerate(node))
    if isinstance(node, dict):
        for key, child in node.items():
            yield from _leaves(child, f'{name}/{key}')
    else:
        yield name, node


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        one, other = one.numpy(), other.numpy()
    if isinstance(one, np.ndarray):
        return (
            one.dtype == other.dtype
            and one.shape == other.shape
            and one.tobytes() == other.tobytes()
        )
    return type(one) is type(other) and one == other
