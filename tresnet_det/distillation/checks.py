"""Can a student learn from a teacher at all?"""

from collections.abc import Sequence
from typing import Any

import torch

from ..common.errors import UserError
from .heads import family_of

__all__ = ['check_class_names', 'check_heads', 'widths']


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


def widths(head: Any, depth: int) -> int:
    """Channels of the maps that enter a dense head after ``depth`` convs."""
    return int(head.feat_channels if depth else head.in_channels)


def check_heads(student: Any, teacher: Any, depth: int | None, adapter: bool) -> None:
    """Refuses a teacher whose head cannot stand in for the student's.

    Args:
        student, teacher: Their dense heads.
        depth: The student's convs before the teacher's rest; None if no head
            is shared.
        adapter: There is a conv between different widths.

    Raises:
        UserError: They do not fit; the message names each difference.
    """
    families = family_of(student), family_of(teacher)
    if None in families or families[0] is not families[1]:
        raise UserError(
            'a head can be shared between two FCOS, two RetinaNet, two ATSS or '
            f'two GFL detectors; student: {type(student).__name__}, teacher: '
            f'{type(teacher).__name__}'
        )
    pairs = [
        (name, *(_told(head, name) for head in (student, teacher)))
        for name in (
            'number of classes',
            'levels',
            'strides',
            'anchors',
            'coder of boxes',
            'reg_max',
            'sigmoid classes',
        )
    ]
    if depth is not None and not adapter:
        pairs.append(
            (
                'channels of the maps that the shared head takes (or set '
                'adapter=True: a 1x1 conv between them)',
                widths(student, depth),
                widths(teacher, depth),
            )
        )
    found = [
        f'  {name}: student {own}, teacher {other}'
        for name, own, other in pairs
        if own != other
    ]
    if found:
        raise UserError(
            'teacher and student do not fit:\n'
            + '\n'.join(found)
            + '\nChange the one in its config, or take another teacher'
        )
    if not student.use_sigmoid_cls:
        raise UserError(
            'student and teacher both use a softmax over classes; only heads '
            'with a sigmoid a class (use_sigmoid=True) can be shared'
        )
    longest = min(len(head.cls_convs) for head in (student, teacher))
    if depth is not None and depth > longest:
        raise UserError(
            f'share_from is {depth}, but the student has '
            f'{len(student.cls_convs)} convs in a tower of its head and the '
            f'teacher {len(teacher.cls_convs)}: set 0 to {longest}'
        )


def _told(head: Any, name: str) -> Any:
    priors = head.prior_generator
    if name == 'number of classes':
        return head.num_classes
    if name == 'levels':
        return priors.num_levels
    if name == 'strides':
        return list(map(tuple, priors.strides))
    if name == 'anchors':
        base = getattr(priors, 'base_anchors', None)
        if base is None:
            return f'points, offset {priors.offset}'
        return [torch.as_tensor(level).tolist() for level in base]
    if name == 'coder of boxes':
        coder = head.bbox_coder
        values = {
            key: list(value) if isinstance(value, (list, tuple)) else value
            for key, value in vars(coder).items()
        }
        return type(coder).__name__, values
    if name == 'reg_max':
        return getattr(head, 'reg_max', None)
    return bool(head.use_sigmoid_cls)
