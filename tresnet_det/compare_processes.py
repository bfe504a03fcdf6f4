"""The same training by one process, by several, and by several machines."""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

__all__ = ['MeanLossHook', 'read_losses', 'two_machines']

LOSSES = 'mean_losses.jsonl'


@HOOKS.register_module()
class MeanLossHook(Hook):
    """Writes each iteration's losses, as means over all processes.

    mmengine logs those of the first process. Detectors divide by a count that
    is a mean over the processes; so the mean of their losses is the loss of
    one process with all images.
    """

    def before_train(self, runner: Runner) -> None:
        self.path = Path(runner.work_dir, LOSSES)

    def after_train_iter(self, runner: Runner, batch_idx: int,
                         data_batch: Any = None,
                         outputs: dict | None = None) -> None:
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


@contextmanager
def two_machines() -> Iterator[tuple[list[list], str]]:
    """Two network namespaces joined by a cable, as two machines are.

    Needs root and the command ``ip`` (iproute2).

    Returns:
        For each machine the words to put before a command, and the address of
        the first machine.

    Raises:
        PermissionError: The kernel does not let this user make namespaces.
    """
    mark = uuid.uuid4().hex[:6]
    names = [f'tresnet-{mark}-{rank}' for rank in (0, 1)]
    with ExitStack() as stack:
        for name in names:
            _ip('netns', 'add', name)
            stack.callback(_ip, 'netns', 'del', name)
        _ip('link', 'add', 'cable', 'netns', names[0], 'type', 'veth', 'peer',
            'name', 'cable', 'netns', names[1])
        for rank, name in enumerate(names):
            inside = '-n', name
            _ip(*inside, 'addr', 'add', f'10.77.0.{rank + 1}/24', 'dev',
                'cable')
            for device in ('lo', 'cable'):
                _ip(*inside, 'link', 'set', device, 'up')
        # Without its name gloo takes the address of the host's name, which
        # no namespace has.
        yield [['ip', 'netns', 'exec', name, 'env',
                'GLOO_SOCKET_IFNAME=cable'] for name in names], '10.77.0.1'


def _ip(*words: str) -> None:
    done = subprocess.run(['ip', *words], capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(f'ip {" ".join(words)}: {done.stderr.strip()}; '
                              f'this needs root, the user is {os.getuid()}')
