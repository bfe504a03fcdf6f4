"""What MMDetection reads of a COCO file's entries, and what it must be.

Each field is tested for one entry and for all entries together: sets of a million
boxes are sound but for a few, and whole lists are looked at some ten times as fast.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

__all__ = ['FIELDS', 'Field', 'is_key', 'refers', 'values_of']

_MOST = sys.float_info.max


class Field(NamedTuple):
    """A field of an entry.

    Attributes:
        fits: Whether a value can be used.
        wrong: What is said of one that cannot: 'whose area is ...'.
        all_fit: Whether a list of values fits. It may say no where ``fits`` says
            yes of each, never the other way round.
    """

    fits: Callable[[Any], bool]
    wrong: str
    all_fit: Callable[[Sequence[Any]], bool]


Entries = Sequence[Mapping[str, Any]]


def values_of(entries: Entries, field: str) -> list | None:
    """A field of all entries; None if one lacks it."""
    try:
        return [*map(itemgetter(field), entries)]
    except KeyError:
        return None


def refers(entries: Entries, field: str, ids: Set[Any]) -> bool:
    """Whether a field of each entry is one of some ids."""
    values = values_of(entries, field)
    return values is not None and _are_keys(values) and ids >= {*values}


def _is_number(value: Any) -> bool:
    kind = type(value)  # neither True nor False
    return kind in (int, float) and -_MOST <= value <= _MOST


def _are_numbers(values: Sequence[Any], least: float = -math.inf) -> bool:
    if not {*map(type, values)} <= {int, float}:
        return False
    try:
        numbers = np.fromiter(values, float, len(values))
    except OverflowError:
        return False
    return bool(np.isfinite(numbers).all() and (numbers > least).all())


def is_key(value: Any) -> bool:
    """Whether a value can be an id."""
    return type(value) in (str, int) or _is_number(value)


def _are_keys(values: Sequence[Any]) -> bool:
    return {*map(type, values)} <= {str, int}


def _is_name(value: Any) -> bool:
    return isinstance(value, (str, int, float))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and '\0' not in value


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_box(value: Any) -> bool:
    return type(value) is list and len(value) == 4 and all(map(_is_number, value))


def _are_boxes(values: Sequence[Any]) -> bool:
    return (
        {*map(type, values)} <= {list}
        and {*map(len, values)} <= {4}
        and _are_numbers([*chain.from_iterable(values)])
    )


def _is_flag(value: Any) -> bool:
    return type(value) in (int, float, bool) and value in (0, 1)


def _is_flag_or_none(value: Any) -> bool:
    return value is None or _is_flag(value)


def _are_flags(values: Sequence[Any]) -> bool:
    return {*map(type, values)} <= {int, float, bool} and {*values} <= {0, 1}


def _each(fits: Callable[[Any], bool]) -> Callable[[Sequence[Any]], bool]:
    return lambda values: all(map(fits, values))


_KEY = Field(is_key, 'no number or string', _are_keys)
_SIDE = Field(_is_positive, 'no positive number', lambda v: _are_numbers(v, 0))
FIELDS: dict[str, dict[str, Field]] = dict(
    images=dict(
        id=_KEY,
        file_name=Field(_is_text, 'no string', _each(_is_text)),
        width=_SIDE,
        height=_SIDE,
    ),
    annotations=dict(
        id=_KEY,
        image_id=_KEY,
        category_id=_KEY,
        bbox=Field(_is_box, 'not [x, y, width, height] in finite numbers', _are_boxes),
        area=Field(_is_number, 'no finite number', _are_numbers),
        iscrowd=Field(_is_flag, 'neither 0 nor 1', _are_flags),
        ignore=Field(_is_flag_or_none, 'neither 0 nor 1', _are_flags),
    ),
    categories=dict(
        id=_KEY, name=Field(_is_name, 'no number or string', _each(_is_name))
    ),
)
