"""The same training by one process, by several, and by several machines."""

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from killing import children
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

__all__ = [
    'Machine',
    'MeanLossHook',
    'read_losses',
    'run_on_machines',
    'two_machines',
    'unequal',
]

LOSSES = 'mean_losses.jsonl'
STOPPED_WITHIN = 60  # seconds after one process was killed


@HOOKS.register_module()
class MeanLossHook(Hook):
    """Writes each iteration's losses, as means over all processes.

    mmengine logs those of the first process. Detectors divide by a count that
    is a mean over the processes; so the mean of their losses is the loss of
    one process with all images.
    """

    def before_train(self, runner: Runner) -> None:
        self.path = Path(runner.work_dir, LOSSES)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        row = {}
        for name, loss in (outputs or {}).items():
            if 'loss' in name:
                loss = loss.detach().double()
                all_reduce(loss, 'mean')
                row[name] = loss.item()
        if is_main_process():
            with open(self.path, 'a') as stream:
                stream.write(json.dumps(row) + '\n')


def read_losses(work_dir: Path, name: str = 'loss') -> list[float]:
    """One of the losses that MeanLossHook wrote, for each iteration."""
    lines = (work_dir / LOSSES).read_text().splitlines()
    return [json.loads(line)[name] for line in lines]


def unequal(losses: Mapping[str, Sequence[float]], rtol: float = 1e-6) -> list[str]:
    """Names of runs whose losses are not those of the first one.

    Heads compute in float32, and processes add in another order: to more
    digits they cannot be equal.
    """
    first = next(iter(losses.values()), [])
    return [
        name
        for name, values in losses.items()
        if len(values) != len(first)
        or not len(values)
        or not np.allclose(values, first, rtol=rtol, atol=0)
    ]


class Machine(NamedTuple):
    """Where a launcher runs.

    Attributes:
        prefix: Words to put before its command.
        address: Of the machine.
    """

    prefix: list[str]
    address: str


@contextmanager
def two_machines() -> Iterator[list[Machine]]:
    """Two network namespaces joined by a cable, as two machines are.

    Needs root and the command ``ip`` (iproute2).

    Raises:
        PermissionError: This user cannot make namespaces.
    """
    mark = uuid.uuid4().hex[:6]
    names = [f'tresnet-{mark}-{rank}' for rank in (0, 1)]
    with ExitStack() as stack:
        for name in names:
            _ip('netns', 'add', name)
            stack.callback(_ip, 'netns', 'del', name)
        _ip(
            'link',
            'add',
            'cable',
            'netns',
            names[0],
            'type',
            'veth',
            'peer',
            'name',
            'cable',
            'netns',
            names[1],
        )
        machines = []
        for name, address in zip(names, ('10.77.0.1', '10.77.0.2')):
            _ip('-n', name, 'addr', 'add', f'{address}/24', 'dev', 'cable')
            for device in ('lo', 'cable'):
                _ip('-n', name, 'link', 'set', device, 'up')
            # Without a name gloo takes the address of the host's name, which
            # is in neither namespace.
            machines.append(
                Machine(
                    ['ip', 'netns', 'exec', name, 'env', 'GLOO_SOCKET_IFNAME=cable'],
                    address,
                )
            )
        yield machines


def _ip(*words: str) -> None:
    done = subprocess.run(['ip', *words], capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(
            f'ip {" ".join(words)}: {done.stderr.strip()}; '
            f'this needs root, the user is {os.getuid()}'
        )


def run_on_machines(
    command: list, machines: list[Machine], work_dir: Path, kill: int | None = None
) -> tuple[float, str]:
    """Runs a launcher on each machine, and waits for all.

    Args:
        command: Of the launcher.
        machines: Where; if it is one, the command runs as it is.
        work_dir: Of the training; what it says is written beside it.
        kill: After the first checkpoint kill a process of this machine.

    Returns:
        Seconds from the kill to the end of all launchers, and the errors that
        they say.

    Raises:
        RuntimeError: A training failed, or one did not stop after the kill.
    """
    ending = '.log' if kill is None else '.killed.log'
    logs = [work_dir.with_suffix(f'.{rank}{ending}') for rank in range(len(machines))]
    launchers = []
    for rank, (machine, log) in enumerate(zip(machines, logs)):
        prefix: list = [
            *machine.prefix,
            f'NNODES={len(machines)}',
            f'NODE_RANK={rank}',
            f'MASTER_ADDR={machines[0].address}',
        ]
        if len(machines) == 1:
            prefix = []
        with open(log, 'wb') as stream:
            launchers.append(
                subprocess.Popen(
                    [*map(str, [*prefix, *command])],
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                )
            )
    try:
        if kill is not None:
            victim = launchers[kill]
            while victim.poll() is None and not (work_dir / 'last_checkpoint').exists():
                time.sleep(0.01)
            if victim.poll() is None:
                os.kill(children(victim.pid)[0], signal.SIGKILL)
        start = time.monotonic()
        limit = None if kill is None else STOPPED_WITHIN
        try:
            failed = [launcher.wait(limit) != 0 for launcher in launchers]
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(
                f'{command} still runs, {limit} s after a '
                f'process was killed, see {logs}'
            ) from error
        seconds = time.monotonic() - start
    finally:  # an interrupted comparison leaves nothing behind
        for launcher in launchers:
            if launcher.poll() is None:
                launcher.terminate()
                launcher.wait()
    said = '\n'.join(
        f'  machine {rank}: {line.strip():.200}'
        for rank, log in enumerate(logs)
        for line in log.read_text(errors='replace').splitlines()
        if 'SIGKILL' in line or 'RuntimeError' in line
    )
    if failed != [kill is not None] * len(machines):
        raise RuntimeError(f'unexpected end of {command}, see {logs}:\n{said}')
    return seconds, said
