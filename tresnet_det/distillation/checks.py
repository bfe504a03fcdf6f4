"""Can a student learn from a teacher at all?"""

from collections.abc import Sequence
from typing import Any

from ..common.errors import UserError
from .heads import Part, depth_of, parts_of, width_after

__all__ = ['check_class_names', 'check_heads']


def check_class_names(
    student: Sequence[str] | None, teacher: Sequence[str] | None
) -> None:
    """Refuses a teacher that calls the classes otherwise, or numbers them so.

    Args:
        student: Names of the training data; None if it tells none.
        teacher: Names that the teacher was trained with, or None.

    Raises:
        UserError: They differ.
    """
    if student is None or teacher is None or tuple(student) == tuple(teacher):
        return
    order = ' in another order' if sorted(student) == sorted(teacher) else ''
    raise UserError(
        f'teacher and student have other classes{order}:\n'
        f'  student: {list(student)}\n  teacher: {list(teacher)}\n'
        'Take a teacher that was trained on these classes, in this order'
    )


def check_heads(student: Any, teacher: Any, start: int | None, adapter: bool) -> None:
    """Refuses a teacher whose heads cannot stand in for the student's.

    Args:
        student, teacher: Both detectors.
        start: The student's layers before the teacher's rest; None if no head
            is shared.
        adapter: There is a conv between different widths.

    Raises:
        UserError: They do not fit; the message names each difference.
    """
    parts = parts_of(student)
    told = [
        ' and '.join(_type(part, each) for part in parts_of(each)) or 'no head'
        for each in (student, teacher)
    ]
    families = [
        [part.family(each) for part in parts_of(each)] for each in (student, teacher)
    ]
    if not parts or None in families[0] or families[0] != families[1]:
        raise UserError(
            'a head can be shared between two FCOS, two RetinaNet, two ATSS, two GFL '
            'or two of Faster and Mask R-CNN; student: '
            f'{type(student).__name__} with {told[0]}, teacher: '
            f'{type(teacher).__name__} with {told[1]}'
        )
    found: list[str] = []
    for part in parts:
        heads = [part.head(each) for each in (student, teacher)]
        own, other = (part.facts(each) for each in (student, teacher))
        pairs: list[tuple] = [(name, own[name], other[name]) for name in own]
        if start is not None:
            depth = min(start, depth_of(heads[0]))
            if depth <= depth_of(heads[1]) and not adapter:
                name = (
                    'channels of the maps that the shared head takes (or set '
                    'adapter=True: a 1x1 conv between them)'
                )
                pairs.append((name, *(width_after(head, depth) for head in heads)))
        where = f'{part.path}, ' if len(parts) > 1 else ''
        found += [
            f'  {where}{name}: student {own}, teacher {other}'
            for name, own, other in pairs
            if own != other
        ]
    if found:
        raise UserError(
            'teacher and student do not fit:\n'
            + '\n'.join(found)
            + '\nChange the one in its config, or take another teacher'
        )
    for part in parts:
        if fault := part.unfit(student):
            raise UserError(f'student and teacher both {fault}')
    _check_start(student, teacher, start)


def _check_start(student: Any, teacher: Any, start: int | None) -> None:
    layers = {
        part.path: [depth_of(part.head(each)) for each in (student, teacher)]
        for part in parts_of(student)
    }
    longest = max(own for own, _ in layers.values())
    fit = [
        number
        for number in range(longest + 1)
        if all(min(number, own) <= theirs for own, theirs in layers.values())
    ]
    if start is not None and start not in fit:
        counted = ', '.join(
            f'{path}: student {own}, teacher {theirs}'
            for path, (own, theirs) in layers.items()
        )
        raise UserError(
            f'share_from is {start}, but layers before the predictors are '
            f'{counted}: set 0 to {fit[-1]}'
        )


def _type(part: Part, model: Any) -> str:
    return type(part.head(model)).__name__
