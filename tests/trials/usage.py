"""What a process holds, step by step, and whether that grows.

For Linux: the figures come from /proc and from glibc.
"""

import ctypes
import gc
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub

__all__ = [
    'LIMITS',
    'MEASURES',
    'Slope',
    'UsageHook',
    'allocated_bytes',
    'growing',
    'log_bytes',
    'open_files',
    'resident_bytes',
    'slope',
    'tensor_bytes',
]


def resident_bytes() -> int:
    """Memory of this process, without its children, that is in RAM."""
    with open('/proc/self/statm') as file:
        pages = int(file.read().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE')


def open_files() -> int:
    """File descriptors of this process: files, pipes, sockets."""
    return len(os.listdir('/proc/self/fd')) - 1  # the listing's own


class _Mallinfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            'arena',
            'ordblks',
            'smblks',
            'hblks',
            'hblkhd',
            'usmblks',
            'fsmblks',
            'uordblks',
            'fordblks',
            'keepcost',
        )
    ]


def allocated_bytes() -> int:
    """Bytes that malloc has given out and not got back.

    On a CPU all tensors' are among them, those that only autograd's graph
    refers to as well, which Python's garbage collector does not see.

    Raises:
        AttributeError: The C library is not glibc 2.33 or newer.
    """
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Mallinfo
    info = mallinfo()
    return info.uordblks + info.hblkhd


def tensor_bytes() -> int:
    """Bytes of all tensors that Python refers to; a shared storage once."""
    storages: dict[int, int] = {}
    for thing in gc.get_objects():
        # The type: isinstance would wake up proxies.
        if issubclass(type(thing), torch.Tensor):
            storage = thing.untyped_storage()
            with suppress(RuntimeError):  # a compiler's fakes have no memory
                storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def log_bytes() -> int:
    """Bytes of the numbers that mmengine keeps of each iteration.

    Its history buffers hold up to a million of each: a value and a count, 16
    bytes.
    """
    buffers = MessageHub.get_current_instance().log_scalars.values()
    return sum(part.nbytes for buffer in buffers for part in buffer.data)


# What is measured, and how.
MEASURES: dict[str, Callable[[], int]] = {
    'resident': resident_bytes,
    'allocated': allocated_bytes,
    'log': log_bytes,
    'unlogged': lambda: allocated_bytes() - log_bytes(),
    'tensors': tensor_bytes,
    'files': open_files,
}
# The most that a sound training may grow in 1000 iterations. Below 16 bytes
# an iteration nothing is forgotten that Python makes: each object has more.
LIMITS = dict(unlogged=16_000, tensors=16_000, files=0)


class UsageHook(Hook):
    """Measures after every so many training iterations.

    Attributes:
        steps: Number of iterations done at each measurement.
        values: Name out of MEASURES -> its values at those steps.
    """

    priority = 'LOWEST'  # after those that write logs and checkpoints

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.steps: list[int] = []
        self.values: dict[str, list[int]] = {name: [] for name in MEASURES}

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        if (runner.iter + 1) % self.interval == 0:
            gc.collect()  # garbage in cycles is no leak
            self.steps.append(runner.iter + 1)
            for name, measure in MEASURES.items():
                self.values[name].append(measure())

    def at(self, name: str, step: int) -> int:
        """The value of a measure at a step at which it was taken."""
        return self.values[name][self.steps.index(step)]

    def slopes(self, start: int) -> 'dict[str, Slope]':
        """Growth of each measure from a step on."""
        warm = [step >= start for step in self.steps].index(True)
        return {
            name: slope(self.steps[warm:], values[warm:])
            for name, values in self.values.items()
        }


class Slope(NamedTuple):
    """Growth for each 1000 steps, and half its 95 % confidence interval."""

    growth: float
    confidence: float

    def exceeds(self, limit: float) -> bool:
        """Whether it grows by more, beyond what chance may do."""
        return self.growth - self.confidence > limit


def growing(slopes: Mapping[str, Slope]) -> list[str]:
    """Names of what grows beyond its limit."""
    return [name for name, limit in LIMITS.items() if slopes[name].exceeds(limit)]


def slope(steps: Sequence[int], values: Sequence[float]) -> Slope:
    """Fit a line by least squares.

    The interval takes the residuals for independent; those of a process's
    memory are not wholly, so that the true one is wider.

    Raises:
        ValueError: Fewer than four values.
    """
    if len(values) < 4:
        raise ValueError(
            f'a slope with its confidence needs 4 values or more, got {len(values)}'
        )
    x, y = np.asarray(steps) / 1000.0, np.asarray(values, float)
    # From the mean, or sums of squares of gigabytes would eat the digits.
    (growth, _), variance = np.polyfit(x - x.mean(), y - y.mean(), 1, cov=True)
    return Slope(float(growth), float(1.96 * np.sqrt(variance[0, 0])))
