"""What teacher and student disagree by.

Each is exactly 0, with a gradient of exactly 0, where both agree to the last
bit, and smooth there but for the boxes'. Automatic differentiation of the
usual formulas gives neither: it adds terms that cancel only up to rounding.
So the gradient is written out.
"""

from typing import Any

import torch
import torch.nn.functional as F
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

__all__ = ['box_loss', 'sigmoid_divergence', 'softmax_divergence']


class _WithGradient(torch.autograd.Function):
    """A sum whose gradient by ``student`` is known."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.sum()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return outer[0] * gradient, None, None


def sigmoid_divergence(student: Tensor, teacher: Tensor, beta: float = 1.0) -> Tensor:
    """Sum of |p - q|^beta * KL(q || p) over independent yes-or-no classes.

    p and q are the sigmoids of student and teacher. Quality focal loss
    (arXiv:2006.04388), which distillation of dense detectors uses, has the
    cross entropy in place of the divergence: it is not smooth where p = q,
    and pushes a student off its teacher by up to .17 a logit there.

    Args:
        student, teacher: Logits of one shape.
        beta: How much less easy points count; 0, or 1 and above.
    """
    student = student.float()
    with torch.no_grad():
        s, t = student.detach(), teacher.float()
        p, q = s.sigmoid(), t.sigmoid()
        divergence = q * (F.logsigmoid(t) - F.logsigmoid(s)) + (1 - q) * (
            F.logsigmoid(-t) - F.logsigmoid(-s)
        )
        gap = p - q
        focus = gap.abs() ** beta
        gradient = focus * gap
        if beta:
            gradient += (
                beta * gap.abs() ** (beta - 1) * gap.sign() * p * (1 - p) * divergence
            )
        # Rounding may make it negative.
        value = focus * divergence.clamp(min=0)
    return _WithGradient.apply(student, value, gradient)


def softmax_divergence(
    student: Tensor,
    teacher: Tensor,
    temperature: float = 1.0,
    weight: Tensor | float = 1.0,
) -> Tensor:
    """Sum of T^2 KL(q || p) over rows of logits, each times a weight.

    p and q are the softmax of student / T and teacher / T; arXiv:1503.02531.

    Args:
        student, teacher: Logits, classes in the last dimension.
        temperature: T.
        weight: One a row, or one for all.
    """
    student = student.float()
    with torch.no_grad():
        s, t = student.detach() / temperature, teacher.float() / temperature
        log_p, log_q = s.log_softmax(-1), t.log_softmax(-1)
        q = log_q.exp()
        rows = torch.as_tensor(weight, device=s.device).unsqueeze(-1)
        rows = rows * temperature
        value = rows * temperature * q * (log_q - log_p)
        gradient = rows * (log_p.exp() - q)
    return _WithGradient.apply(student, value, gradient)


def box_loss(student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """Sum of weight * (1 - GIoU) over pairs of boxes.

    Pairs that agree to the last bit are left out, as GIoU has a kink there,
    and so are boxes without an area, by which it would divide.

    Args:
        student, teacher: Boxes (x1, y1, x2, y2) of shape (N, 4).
        weight: Of shape (N,).
    """
    student, teacher = student.float(), teacher.float()
    with torch.no_grad():
        counted = (weight > 0) & (student != teacher).any(-1)
        for boxes in (student, teacher):
            counted &= (boxes[:, 2:] > boxes[:, :2]).all(-1)
    if not counted.any():  # MMDetection's function then loses the gradient
        return student[counted].sum()
    overlaps = bbox_overlaps(
        student[counted], teacher[counted], mode='giou', is_aligned=True
    )
    return (weight[counted] * (1 - overlaps)).sum()
