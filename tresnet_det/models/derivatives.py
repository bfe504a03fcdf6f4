"""Says that our own backward passes cannot be differentiated again."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ['first_order_only']

Grads = tuple[Tensor | None, ...]

MESSAGE = (
    'Second derivatives (hvp, hessian, a gradient of a gradient) cannot go '
    'through an in-place activated norm or a recomputed conv: they do not keep '
    "what is needed. Build the model with norm_cfg=dict(type='BN'), which has "
    'the same state dict and the same outputs'
)


class _Refused(torch.autograd.Function):
    """The results unchanged, as a function of all that they depend on."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(t.detach() for t in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> None:
        raise RuntimeError(MESSAGE)


def first_order_only(backward: Callable[..., Grads]) -> Callable[..., Grads]:
    """A backward whose results raise RuntimeError once they are differentiated.

    torch's `once_differentiable` does so only if a gradient that comes in can
    be differentiated.  After a plain ``y.sum()`` none can, and the second
    derivative would be 0 in silence, although the results depend on what was
    saved.

    Args:
        backward: Takes the context, its saved tensors, and the gradients.
    """

    @functools.wraps(backward)
    def wrapper(ctx: Any, *grads: Tensor) -> Grads:
        saved = ctx.saved_tensors  # once: a checkpoint gives them only once
        with torch.no_grad():
            results = backward(ctx, saved, *grads)
        if not torch.is_grad_enabled():  # on with create_graph=True alone
            return results
        known = [r for r in results if r is not None]
        sources = (t for t in (*saved, *grads) if t is not None)
        refused = iter(_Refused.apply(len(known), *known, *sources))
        return tuple(None if r is None else next(refused) for r in results)

    return wrapper
