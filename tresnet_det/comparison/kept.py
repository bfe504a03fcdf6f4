"""What is kept for backward, tensor by tensor, and how it grows."""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

__all__ = ['Fit', 'Kept', 'bytes_kept_by', 'fit', 'kept_tensors', 'merged']


class Kept(NamedTuple):
    """A storage that is kept for backward.

    Attributes:
        module: Name of the innermost module that kept it first, '' for the whole.
        by: Names of the autograd nodes that keep it.
        shape: Of the tensor that was kept first.
        bytes: Of the whole storage.
        number: How many such storages there are.
    """

    module: str
    by: tuple[str, ...]
    shape: tuple[int, ...]
    bytes: int
    number: int = 1


class _First(NamedTuple):
    tensor: Tensor  # held, or its address could be given to another
    module: str
    bytes: int


def _storages(
    forward: Callable[[], Any], own: Iterable[Tensor], names: dict[nn.Module, str]
) -> tuple[dict[int, _First], Any]:
    known = {t.untyped_storage().data_ptr() for t in own}
    found: dict[int, _First] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        if place not in known and place not in found:
            found[place] = _First(
                tensor.detach(), _calling_module(names), storage.nbytes()
            )
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        result = forward()
    return found, result


def _calling_module(names: dict[nn.Module, str]) -> str:
    # Not by hooks: in-place norms save nothing where a module has one.
    frame = sys._getframe(2) if names else None
    while frame is not None:
        module = frame.f_locals.get('self')
        if isinstance(module, nn.Module) and module in names:
            return names[module]
        frame = frame.f_back
    return ''


def bytes_kept_by(forward: Callable[[], Any], own: Iterable[Tensor]) -> int:
    """Bytes that autograd keeps for backward after ``forward()``.

    Every storage that the graph refers to counts once, whole.

    Args:
        forward: What is run once.
        own: Tensors that exist anyway, parameters and inputs: not counted.
    """
    found, _ = _storages(forward, own, {})
    return sum(one.bytes for one in found.values())


def kept_tensors(model: nn.Module, x: Tensor) -> list[Kept]:
    """What autograd keeps after ``model(x)``, without parameters, buffers and x.

    Args:
        model: Gives a sequence of maps.
        x: Images of shape (N, 3, H, W).

    Returns:
        The largest first.
    """
    names = {module: name for name, module in model.named_modules()}
    own = (*model.parameters(), *model.buffers(), x)
    found, maps = _storages(lambda: model(x), own, names)
    keepers = _keepers(maps)
    kept = [
        Kept(
            one.module,
            tuple(sorted(keepers.get(place, ()))),
            tuple(one.tensor.shape),
            one.bytes,
        )
        for place, one in found.items()
    ]
    return sorted(kept, key=lambda k: -k.bytes)


def _keepers(maps: Sequence[Tensor]) -> dict[int, set[str]]:
    """Names of the autograd nodes by the address of what they keep."""
    keepers: dict[int, set[str]] = {}
    waiting, seen = [y.grad_fn for y in maps], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
        saved = list(getattr(node, 'saved_tensors', ()))
        for name in dir(node):
            if name.startswith('_saved_'):
                value = getattr(node, name)
                saved += value if isinstance(value, (list, tuple)) else [value]
        for tensor in saved:
            if isinstance(tensor, Tensor):
                place = tensor.untyped_storage().data_ptr()
                name = re.sub(r'(Backward\d*)+$', '', type(node).__name__)
                keepers.setdefault(place, set()).add(name)
    return keepers


def merged(kept: Sequence[Kept]) -> list[Kept]:
    """Equal ones of a stage's blocks together, the largest sum first."""
    rows: dict[tuple, Kept] = {}
    for one in kept:
        module = re.sub(r'\.\d+', '.*', one.module)
        key = module, one.by, one.shape
        row = rows.get(key)
        rows[key] = (
            one._replace(module=module)
            if row is None
            else row._replace(bytes=row.bytes + one.bytes, number=row.number + 1)
        )
    return sorted(rows.values(), key=lambda k: -k.bytes)


class Fit(NamedTuple):
    """y = constant + slope * x by least squares.

    Attributes:
        constant, slope: As just said.
        residual: The largest deviation from the line, of the largest y.
    """

    constant: float
    slope: float
    residual: float


def fit(x: Sequence[float], y: Sequence[float]) -> Fit:
    """Fits a straight line."""
    slope, constant = np.polyfit(x, y, 1)
    deviations = np.abs(np.asarray(y) - constant - slope * np.asarray(x))
    return Fit(constant, slope, deviations.max() / max(y))
