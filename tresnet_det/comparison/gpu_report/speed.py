"""Images a second, each figure between synchronisations, after a warm-up."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn as nn
from torch import Tensor

from ..benchmark import maps_of, train_step

__all__ = ['Mode', 'images_per_second', 'rate']


class Mode(NamedTuple):
    """How a backbone is run.

    Attributes:
        dtype: float32, or a half type, by autocast.
        channels_last: Memory format of weights and images.
        compiled: By torch.compile.
    """

    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        parts = [
            str(self.dtype).removeprefix('torch.'),
            'channels-last' if self.channels_last else 'NCHW',
            *(['compiled'] if self.compiled else []),
        ]
        return ', '.join(parts)


def _synchronise(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def rate(
    step: Callable[[], object], images: int, device: torch.device, seconds: float
) -> float:
    """Images a second of ``step``, which takes so many: the median of three
    rounds; of one step if ``seconds`` is 0."""
    rounds = 3 if seconds else 1
    for _ in range(rounds):  # compiles, chooses algorithms, fills the allocator
        step()
    repeats = 1
    if seconds:
        once = _timed(step, 1, device)
        repeats = max(1, round(seconds / rounds / once))
    times = [_timed(step, repeats, device) for _ in range(rounds)]
    return images * repeats / statistics.median(times)


def _timed(step: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Seconds of so many steps, the device idle before and after."""
    _synchronise(device)
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    _synchronise(device)
    return time.perf_counter() - start


def images_per_second(
    model: nn.Module, x: Tensor, mode: Mode, training: bool, seconds: float
) -> float:
    """Images a second of a training step (no optimizer) or of inference.

    Args:
        model: Backbone that gives maps, on the device of ``x``; its memory format and
            train/eval mode are changed.
        x: Images of shape (N, 3, H, W).
        mode: How it is run.
        training: A training step, with batch statistics; else inference in eval().
        seconds: About how long to time, warm-up apart; 0 for one step.
    """
    layout = torch.channels_last if mode.channels_last else torch.contiguous_format
    model = model.to(memory_format=layout).train(training)
    x = x.contiguous(memory_format=layout)
    run: Any = torch.compile(model) if mode.compiled else model
    if training:
        return rate(lambda: train_step(run, x, mode.dtype), len(x), x.device, seconds)
    with torch.inference_mode():
        return rate(lambda: maps_of(run, x, mode.dtype), len(x), x.device, seconds)
