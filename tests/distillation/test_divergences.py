"""The losses' values and gradients, against automatic differentiation."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.structures.bbox import bbox_overlaps

from tresnet_det.distillation.losses import (
    box_loss,
    sigmoid_divergence,
    softmax_divergence,
)


def logits(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3


def with_gradient(loss, student):
    student = student.clone().requires_grad_()
    value = loss(student)
    value.backward()
    return value.detach(), student.grad


@pytest.mark.parametrize('beta', [0.0, 1.0, 2.0])
def test_sigmoid_divergence_by_automatic_differentiation(beta):
    student, teacher = logits(50, 3).double(), logits(50, 3, seed=1).double()
    q = teacher.sigmoid()

    def plain(s):
        p = s.sigmoid()
        entropy = F.binary_cross_entropy(q, q, reduction='none')
        cross = F.binary_cross_entropy_with_logits(s, q, reduction='none')
        return ((p - q).abs() ** beta * (cross - entropy)).sum()

    expected = with_gradient(plain, student)
    found = with_gradient(
        lambda s: sigmoid_divergence(s, teacher, beta), student.float()
    )
    torch.testing.assert_close(found[0].double(), expected[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[1].double(), expected[1], rtol=1e-4, atol=1e-6)


def test_by_hand():
    """p = 1/2, q = 3/4: |p - q| KL = 1/4 (3/4 log 3/2 + 1/4 log 1/2)."""
    value = sigmoid_divergence(torch.zeros(1), torch.tensor([3.0]).log())
    assert value.item() == pytest.approx(0.25 * 0.1308120, rel=1e-5)


@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_softmax_divergence_by_automatic_differentiation(temperature):
    student, teacher = logits(20, 5), logits(20, 5, seed=1)
    weight = torch.rand(20, generator=torch.Generator().manual_seed(2))

    def plain(s):
        rows = F.kl_div(
            (s / temperature).log_softmax(-1),
            (teacher / temperature).softmax(-1),
            reduction='none',
        ).sum(-1)
        return (rows * weight).sum() * temperature**2

    expected = with_gradient(plain, student)
    found = with_gradient(
        lambda s: softmax_divergence(s, teacher, temperature, weight), student
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    'loss', [sigmoid_divergence, softmax_divergence], ids=['sigmoid', 'softmax']
)
def test_nothing_at_equality_and_smooth_beside_it(loss):
    same = logits(1000, 7)
    value, gradient = with_gradient(lambda s: loss(s, same), same)
    assert value == 0 and not gradient.any()
    near = same + 1e-6
    assert with_gradient(lambda s: loss(s, same), near)[1].abs().max() < 1e-5


def test_extreme_logits():
    far = torch.tensor([[-200.0, 200.0], [0.0, 1e4]])
    for loss in (sigmoid_divergence, softmax_divergence):
        value, gradient = with_gradient(lambda s, loss=loss: loss(s, far), -far)
        assert value.isfinite() and gradient.isfinite().all()


def test_boxes():
    teacher = torch.tensor([[0.0, 0, 10, 10], [5, 5, 25, 15], [0, 0, 8, 8]])
    student = teacher + torch.tensor([1.0, -2, 3, 0])
    weight = torch.tensor([0.5, 1.0, 0.0])
    value, gradient = with_gradient(lambda s: box_loss(s, teacher, weight), student)
    overlaps = bbox_overlaps(student, teacher, 'giou', is_aligned=True)
    assert value.item() == pytest.approx(((1 - overlaps) * weight).sum().item())
    assert gradient[:2].any() and not gradient[2].any()


def test_boxes_that_agree_or_have_no_area_count_nothing():
    teacher = torch.tensor([[0.0, 0, 10, 10], [3, 3, 3, 9], [1, 1, 4, 4], [2, 2, 5, 5]])
    student = teacher.clone()
    student[1] += 1
    student[2, 2] = 1  # of no width
    value, gradient = with_gradient(
        lambda s: box_loss(s, teacher, torch.ones(4)), student
    )
    assert value == 0 and not gradient.any()
