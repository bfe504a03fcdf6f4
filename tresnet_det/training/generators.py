"""Generators of random numbers that parts of a training keep to themselves.

Seeding Python, NumPy and torch reaches none of them: albumentations since 1.4
has two in each transform, imgaug has one, and so may a user's own transform.
"""

import random
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

__all__ = ['kept_generators', 'kept_parts', 'parts_of', 'seed_generators']

_KINDS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)
# They hold no generator, and are many or lead to everything.
_LEAVES = (
    str,
    bytes,
    int,
    float,
    complex,
    type(None),
    type,
    ModuleType,
    BuiltinFunctionType,
    np.ndarray,
    np.generic,
    torch.Tensor,
)
# A longer list or dict holds data: annotations, indices, paths.
_LONGEST = 100
# Who comes to more has left the transforms for something larger.
_MOST = 100_000


def kept_generators(*roots: Any) -> list[Any]:
    """Generators that can be reached from objects, in an order of their own.

    Args:
        roots: The objects.

    Returns:
        Those of Python, NumPy and torch, each once; not the global ones. And
        what keeps a stock of numbers drawn ahead, see ``seed_generators``.
    """
    shared = (random._inst, np.random.mtrand._rand, torch.default_generator)
    return [
        part
        for part in kept_parts(*roots)
        if (isinstance(part, _KINDS) and not any(part is other for other in shared))
        or _draws_ahead(part)
    ]


def _draws_ahead(part: Any) -> bool:
    """Whether it is one of imgaug's stocks of numbers (since its 0.5)."""
    return 'last_rng_idx' in getattr(part, '__dict__', ())


def kept_parts(*roots: Any) -> Iterator[Any]:
    """Objects that can be reached from others, each once, the others first.

    Attributes, elements of short lists and dicts, and what functions close
    over are followed.
    """
    seen: set[int] = set()
    kept: list[Any] = []
    waiting = list(reversed(roots))
    while waiting and len(kept) < _MOST:
        part = waiting.pop()
        if isinstance(part, _LEAVES) or id(part) in seen:
            continue
        seen.add(id(part))
        kept.append(part)  # or another object might get its id
        yield part
        if not isinstance(part, _KINDS):
            waiting.extend(reversed(parts_of(part)))


def parts_of(thing: Any) -> Sequence[Any]:
    """What an object holds itself; nothing of one that holds very much."""
    elements: Collection[Any] = ()
    if isinstance(thing, dict):
        elements = thing.values()
    elif isinstance(thing, (list, tuple, deque)):
        elements = thing
    # Attributes too: imgaug's augmenters are lists with a generator.
    inside = [*elements] if len(elements) <= _LONGEST else []
    if isinstance(thing, MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, FunctionType):
        cells = [cell for cell in thing.__closure__ or () if _filled(cell)]
        return [cell.cell_contents for cell in cells] + [*(thing.__defaults__ or ())]
    if isinstance(thing, partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    slots = [
        getattr(thing, name)
        for cls in type(thing).__mro__
        for name in _names(vars(cls).get('__slots__', ()))
        if name not in ('__dict__', '__weakref__') and hasattr(thing, name)
    ]
    return [*inside, *slots, *getattr(thing, '__dict__', {}).values()]


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  asking is the test
    except ValueError:
        return False
    return True


def _names(slots: str | Iterable[str]) -> Iterable[str]:
    return [slots] if isinstance(slots, str) else slots


def seed_generators(generators: Iterable[Any], *key: int) -> None:
    """Sets generators by a row of numbers, each in a way of its own.

    Args:
        generators: See ``kept_generators``.
        key: Of numbers from 0 on.
    """
    for number, generator in enumerate(generators):
        # With its length, as zeros at the end would not count; the place in the
        # row keeps two generators from drawing the same numbers.
        source = np.random.SeedSequence((len(key), *key, number))
        if _draws_ahead(generator):
            generator.last_rng_idx = None  # as if another had filled it
            continue
        if isinstance(generator, np.random.Generator):
            # Anew and not by its state, which does not tell how many generators
            # were made of it (spawn(), all of imgaug).
            generator.bit_generator.__init__(source)  # type: ignore[misc]
            continue
        seed = int(source.generate_state(1)[0])
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed)
        else:  # of Python or NumPy's old kind
            generator.seed(seed)
