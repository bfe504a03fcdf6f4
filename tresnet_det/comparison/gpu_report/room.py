"""What fits into a GPU, and what makes a training step wait for it."""

import gc
import warnings
from collections.abc import Callable

import torch
import torch.nn as nn

from ..benchmark import train_step

__all__ = ['largest_batch', 'largest_that_fits', 'waits']


def largest_that_fits(fits: Callable[[int], bool], start: int = 32) -> int:
    """The largest number that fits, by doubling and bisection to 1 in 32.

    Args:
        fits: Whether a number fits; what fits makes all smaller ones fit.
        start: The first number tried.

    Returns:
        0 if not even 1 fits.
    """
    good, bad = 0, start
    while fits(bad):
        good, bad = bad, 2 * bad
    while bad - good > max(1, good // 32):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def largest_batch(
    build: Callable[[], nn.Module],
    device: torch.device,
    dtype: torch.dtype,
    size: int,
    memory: int,
) -> int:
    """Images of one training step that fit into so much of a CUDA device's memory.

    As the paper counts: weights, gradients and momentum of SGD are there too.

    Args:
        build: Makes the backbone.
        device: A CUDA device.
        dtype: Type of the maps.
        size: Side of the square images.
        memory: Bytes that may be used; the rest of the card is barred meanwhile.
    """
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, memory / total), device)

    def fits(batch: int) -> bool:
        model = None
        try:
            model = build().to(device)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
            x = torch.randn(batch, 3, size, size, device=device)
            for _ in range(2):
                train_step(model, x, dtype, optimizer)
            torch.cuda.synchronize(device)
            return True
        except torch.cuda.OutOfMemoryError:
            return False
        finally:
            model = None
            gc.collect()
            torch.cuda.empty_cache()

    try:
        return largest_that_fits(fits)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def waits(step: Callable[[], object]) -> int:
    """How often ``step`` makes the CPU wait for the GPU.

    Counted by ``torch.cuda.set_sync_debug_mode``; needs CUDA.
    """
    step()
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return sum('synchroniz' in str(warning.message) for warning in told)
