"""What a computation leaves behind in a model, undone."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from torch import nn

__all__ = ['without_side_effects']


@contextmanager
def without_side_effects(model: nn.Module) -> Iterator[None]:
    """Lets modules change copies of what they hold, all but the weights.

    Afterwards everything is as it was: modes, running statistics and other
    buffers, histories that losses keep (Dynamic R-CNN), assigners. Only
    weights are shared, what can be called (functions, hooks, modules that are
    hidden in an attribute), and what cannot be copied (process groups).
    """
    modules = list(model.modules())
    memo = {id(part): part for part in (*modules, *model.parameters())}
    states = [module.__dict__ for module in modules]
    copies = [
        {name: _copied(name, value, memo) for name, value in state.items()}
        for state in states
    ]
    try:
        for module, copy in zip(modules, copies):
            module.__dict__ = copy
        yield
    finally:
        for module, state in zip(modules, states):
            module.__dict__ = state


def _copied(name: str, value: Any, memo: dict[int, Any]) -> Any:
    # Through a bound method or a hook a copy would reach the whole runner.
    if callable(value) or 'hooks' in name:
        return value
    try:
        return deepcopy(value, memo)
    except Exception:  # whatever the object's own way to say that it cannot
        return value
