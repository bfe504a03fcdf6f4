"""Second derivatives are right or refused, never 0 in silence."""

import pytest
import torch
import torch.nn as nn
from test_backbone import build, image
from torch.autograd import gradgradcheck
from torch.autograd.functional import hessian, hvp

from tresnet_det import InPlaceABN
from tresnet_det.models.conv_norm import conv_norm
from tresnet_det.models.layers import BlurPool, SqueezeExcite


def rand(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=g)


X = rand(3, 4, 3, 3)


def activated():
    return InPlaceABN(4).double()


def gated():
    norm = InPlaceABN(4, activation='identity').double()
    return lambda x: norm.forward_gated(x, torch.sigmoid)


def normed_conv(lean=False):
    norm = InPlaceABN(4, activation='identity').double()
    conv = nn.Conv2d(4, 4, 1, bias=False).double()
    return lambda x: conv_norm(x, conv, norm, lean=lean)


@pytest.mark.parametrize('make', [activated, gated, normed_conv])
def test_second_derivative_is_refused(make):
    f = make()
    remedy = "norm_cfg=dict\\(type='BN'\\)"
    for power in (1, 3):  # of 1: the gradient that comes in is a constant
        with pytest.raises(RuntimeError, match=remedy):
            hvp(lambda x, power=power: f(x).pow(power).sum(), X, rand(*X.shape, seed=1))
    with pytest.raises(RuntimeError, match=remedy):
        hessian(lambda x: f(x).sum(), X[:1])
    x = X.clone().requires_grad_()
    (grad,) = torch.autograd.grad(f(x).pow(3).sum(), x, create_graph=True)
    wanted = torch.autograd.grad(make_again(f, x), x)[0]
    torch.testing.assert_close(grad.detach(), wanted)  # the first one is right
    with pytest.raises(RuntimeError, match=remedy):
        grad.square().sum().backward()


def make_again(f, x):
    return f(x).pow(3).sum()


@pytest.mark.parametrize('training', [True, False])
def test_second_derivative_without_activation(training):
    norm = InPlaceABN(4, activation='identity').double().train(training)
    ours = hvp(lambda x: norm(x).pow(3).sum(), X, rand(*X.shape, seed=1))[1]
    bn = nn.BatchNorm2d(4).double().train(training)
    bn.load_state_dict(InPlaceABN(4).state_dict())
    theirs = hvp(lambda x: bn(x).pow(3).sum(), X, rand(*X.shape, seed=1))[1]
    torch.testing.assert_close(ours, theirs)
    assert ours.any()


@pytest.mark.parametrize('size', [(4, 4), (5, 3)])
def test_second_derivatives_of_layers(size):
    x = rand(1, 2, *size).requires_grad_()
    assert gradgradcheck(BlurPool(2).double(), (x,))
    torch.manual_seed(0)
    assert gradgradcheck(SqueezeExcite(2, 3).double(), (x,))


@pytest.mark.parametrize(
    'kwargs', [{}, dict(recompute_last_conv=True), dict(with_cp=True)]
)
def test_backbone(kwargs):
    x = image(32, 32, dtype=torch.float64)
    for norm, refused in (('InPlaceABN', True), ('BN', False)):
        more = {k: v for k, v in kwargs.items() if refused or k == 'with_cp'}
        model = build(dict(type=norm), **more).double()

        def loss(x, model=model):
            return sum(y.sum() for y in model(x))

        if refused:
            with pytest.raises(RuntimeError, match='Second derivatives'):
                hvp(loss, x, x)
        else:
            assert hvp(loss, x, x)[1].any()
