"""The heads of a detector that a teacher's can stand in for.

A detector of one stage has one; one of two stages has its RPN, which is a
dense head too, and its box head.
"""

from typing import Any

from .apart import depth_of, family_of, rest_of, rest_parts, shuffled, width_after
from .boxes import Boxes
from .dense import Part

__all__ = [
    'Part',
    'depth_of',
    'family_of',
    'parts_of',
    'rest_of',
    'rest_parts',
    'shuffled',
    'width_after',
]

_DENSE = (Part('bbox_head'),)
_TWO_STAGES = (Part('rpn_head', 'rpn_'), Boxes('roi_head.bbox_head', 'roi_'))


def parts_of(model: Any) -> tuple[Part, ...]:
    """The heads of a detector, or of its config, that may be shared."""
    parts = _TWO_STAGES if hasattr(model, 'roi_head') else _DENSE
    return tuple(part for part in parts if _has(model, part.path))


def _has(model: Any, path: str) -> bool:
    first, _, rest = path.partition('.')
    return hasattr(model, first) and (not rest or _has(getattr(model, first), rest))
