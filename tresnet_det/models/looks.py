"""One look at gamma and beta for all activated norms of a network together.

Which channels must keep their input depends on values that lie on the device.
To read them the host waits until the device has done all that it was given.
So a network reads once a forward for all its norms, before it begins, and not
once for each norm; and not at all where no backward will undo a norm.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from .abn import InPlaceABN, Look
from .abn_functional import unrecoverable

__all__ = ['looked_at']


@contextmanager
def looked_at(
    norms: Iterable[tuple[InPlaceABN, float]], dtype: torch.dtype
) -> Iterator[None]:
    """Look at all norms at once; inside, none of them looks by itself.

    What was seen of frozen parameters stays known until they change.

    Args:
        norms: Norms, and the slopes of the leaky ReLUs that they take in.
        dtype: Type of the maps.  A norm whose map has another type looks
            again by itself.
    """
    looks = []
    for norm, slope in norms:
        state = norm.look_state(norm.weight, norm.bias, slope, dtype)
        if norm.is_undone() and (norm.look is None or norm.look.state != state):
            looks.append((norm, slope, state))
    kept = unrecoverable([(n.weight, n.bias, s) for n, s, _ in looks], dtype)
    for (norm, _, state), channels in zip(looks, kept):
        norm.look = Look(state, channels)
    try:
        yield
    finally:
        for norm, _, _ in looks:
            if any(p.requires_grad for p in norm.parameters()):
                norm.look = None
