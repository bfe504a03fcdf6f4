"""Times of several things side by side; standard library only.

A machine's speed drifts, so only what is taken in the same round says
something: ratios are medians of the rounds' ratios.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

__all__ = ['Seconds', 'paired_rounds', 'ratio']


class Seconds(NamedTuple):
    """Of one step: on the clock, and on all cores of this process."""

    wall: float
    cpu: float


def paired_rounds(
    steps: Mapping[str, Callable[[], object]],
    rounds: int,
    wait: Callable[[], object] = lambda: None,
    warm_up: int = 2,
) -> dict[str, list[Seconds]]:
    """Times several steps in turn, round by round.

    Args:
        steps: What is timed, by name.
        rounds: Rounds that count.
        wait: Called before and after each step: until a device is ready.
        warm_up: Rounds before, which do not count.

    Returns:
        For each name, times of each round.
    """
    times: dict[str, list[Seconds]] = {name: [] for name in steps}
    for round_ in range(rounds + warm_up):
        for name, step in steps.items():
            wait()
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            wait()
            if round_ >= warm_up:
                times[name].append(
                    Seconds(time.perf_counter() - wall, time.process_time() - cpu)
                )
    return times


def ratio(times: Sequence[float], base: Sequence[float]) -> float:
    """Median over the rounds of time / base time in the same round."""
    return statistics.median(t / b for t, b in zip(times, base))
