"""Layers against their definitions, by hand-made values and gradcheck."""

import pytest
import torch
import torch.nn.functional as F
from halves import HALVES
from torch.autograd import forward_ad, gradcheck

from tresnet_det.models.layers import BlurPool, SpaceToDepth, SqueezeExcite

SIZES = [(8, 8), (7, 9), (2, 2), (3, 2), (2, 5)]


def image(*shape):
    return torch.randn(
        shape,
        dtype=torch.float64,
        requires_grad=True,
        generator=torch.Generator().manual_seed(0),
    )


def blur_by_padding(x, weight):
    """The definition: a padded copy, then the depthwise conv."""
    return F.conv2d(
        F.pad(x, (1, 1, 1, 1), 'reflect'), weight, stride=2, groups=x.shape[1]
    )


def test_space_to_depth_channel_order():
    x = torch.arange(2 * 8 * 4.0).view(1, 2, 8, 4)
    y = SpaceToDepth()(x)
    assert y.shape == (1, 32, 2, 1)
    for row in range(4):
        for column in range(4):
            for channel in range(2):
                place = (row * 4 + column) * 2 + channel
                assert torch.equal(y[0, place], x[0, channel, row::4, column::4])


@pytest.mark.parametrize('size', SIZES)
def test_blur_equals_its_definition(size):
    x, blur = image(2, 3, *size), BlurPool(3).double()
    y = blur(x)
    assert y.shape[2:] == tuple(-(-s // 2) for s in size)
    torch.testing.assert_close(y, blur_by_padding(x, blur.weight))
    assert gradcheck(blur, (x,))
    with torch.no_grad():
        assert torch.equal(blur(x), y)


def test_blur_by_hand():
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1, 1] = 16.0  # reached from the corner by four reflections
    assert BlurPool(1)(x).flatten().tolist() == [4.0, 2.0, 2.0, 1.0]


def test_blur_keeps_no_map():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.numel()) or t, lambda t: t
    ):
        BlurPool(4)(image(2, 4, 32, 32).float())
    assert not kept


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_blur_follows_dtype_and_layout(dtype):
    x = image(1, 4, 6, 6).detach().to(dtype)
    y = BlurPool(4)(x.to(memory_format=torch.channels_last))
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, BlurPool(4)(x))


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('dtype', [*HALVES, torch.float32])
def test_gradient_of_the_blur_in_every_dtype_and_layout(size, layout, dtype):
    x, blur = image(2, 3, *size), BlurPool(3)
    grad = torch.randn_like(blur(x)).to(dtype)
    (right,) = torch.autograd.grad(blur(x), x, grad.double())
    low = x.detach().to(dtype, memory_format=layout).requires_grad_()
    y = blur(low)
    (got,) = torch.autograd.grad(y, low, grad.to(memory_format=layout))
    assert got.dtype == dtype
    if y.shape[2:].numel() > 1:  # a single pixel has any layout
        assert got.is_contiguous(memory_format=layout)
    error = (got.double() - right).abs().max() / right.abs().max()
    assert error < 2 * torch.finfo(dtype).eps


def test_gradients_of_the_blur_in_a_batch_and_by_tangents():
    x, blur = image(1, 2, 5, 6), BlurPool(2).double()
    assert gradcheck(blur, (x,), check_batched_grad=True)
    y = blur(x)
    grads = torch.randn(3, *y.shape, dtype=torch.float64)
    (together,) = torch.autograd.grad(
        y, x, grads, retain_graph=True, is_grads_batched=True
    )
    for grad, got in zip(grads, together):
        torch.testing.assert_close(
            got, torch.autograd.grad(y, x, grad, retain_graph=True)[0]
        )
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(grads[0], grads[1])
        (both,) = torch.autograd.grad(y, x, dual, retain_graph=True)
        torch.testing.assert_close(forward_ad.unpack_dual(both).tangent, together[1])


def test_infinite_gradients_stay_infinite():
    x = image(1, 1, 6, 6)
    (grad,) = torch.autograd.grad(BlurPool(1)(x.float()).sum() * float('inf'), x)
    assert grad.isinf().all()


def test_gradient_of_the_blur_under_autocast():
    x = image(1, 2, 6, 6).float().detach().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        y = BlurPool(2)(x)
    y.sum().backward()
    assert x.grad.dtype == torch.float32
    torch.testing.assert_close(x.grad.sum(), torch.tensor(18.0))


def test_squeeze_excite_is_a_gated_mean():
    se, x = SqueezeExcite(3, 5).double(), image(2, 3, 4, 6)
    hidden = (x.mean((2, 3)) @ se.fc1.weight[:, :, 0, 0].T + se.fc1.bias).relu()
    gate = (hidden @ se.fc2.weight[:, :, 0, 0].T + se.fc2.bias).sigmoid()
    torch.testing.assert_close(se(x), x * gate[:, :, None, None])
    assert gradcheck(se, (x,))


def test_layers_have_no_state_but_the_gate():
    assert not BlurPool(2).state_dict() and not SpaceToDepth().state_dict()
    assert set(SqueezeExcite(2, 2).state_dict()) == {
        'fc1.weight',
        'fc1.bias',
        'fc2.weight',
        'fc2.bias',
    }
