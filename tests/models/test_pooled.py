"""The pool of a shortcut by slices is torch's to the last bit, its gradient too."""

import pytest
import torch
import torch.nn.functional as F

from tresnet_det import InPlaceABN
from tresnet_det.models.conv_norm import (
    _pooled,
    _pooled_backward,
    _pools_by_slices,
    conv_norm,
)

SLICES = {
    (size, dtype, False)
    for size in ((2, 2), (6, 8), (40, 24))
    for dtype in (torch.float32, torch.float64)
}


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize('size', [(2, 2), (6, 8), (40, 24), (7, 8), (6, 5), (1, 1)])
def test_equal_to_the_last_bit(size, dtype, channels_last):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, *size, generator=draw, dtype=torch.float64).to(dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    # A map of one pixel, or of one channel, has both formats.
    by_slices = (size, dtype, channels_last) in SLICES
    assert _pools_by_slices(x) == by_slices
    x.requires_grad_()
    y = F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)
    grad = torch.randn(y.shape, generator=draw, dtype=torch.float64).to(dtype)
    y.backward(grad)
    before = grad.clone()
    with torch.no_grad():
        assert torch.equal(_pooled(x), y)
        got = _pooled_backward(grad, x)
    assert torch.equal(got, x.grad) and got.stride() == x.stride()
    assert torch.equal(grad, before)


def test_gradients_of_a_batch_of_gradients():
    torch.manual_seed(0)
    conv, norm = (
        torch.nn.Conv2d(8, 12, 1, bias=False),
        InPlaceABN(12, activation='identity'),
    )
    x = torch.randn(2, 8, 16, 12, requires_grad=True)
    y = conv_norm(x, conv, norm, pool=True)
    many = torch.randn(3, *y.shape)

    def grads(grad, batched):
        return torch.autograd.grad(
            y, x, grad, retain_graph=True, is_grads_batched=batched
        )[0]

    right = torch.stack([grads(grad, False) for grad in many])
    assert torch.allclose(grads(many, True), right, atol=1e-5)
