"""The norm beside inplace-abn 1.1.0, whose compiled kernels TResNet used.

Skipped where that package is absent: it has no wheels.  It builds for the CPU
against torch 2.14.1 once `torch.has_cuda`, which is gone from torch, is
replaced by False in its setup.py:

    python setup.py build_ext --inplace
    PYTHONPATH=. python -m pytest .../tests/models/test_abn_peer.py
"""

import pytest
import torch

from tresnet_det import InPlaceABN

peer = pytest.importorskip(
    'inplace_abn', reason='the peer package inplace-abn is not built here'
)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize(
    'activation, slope',
    [
        # Its slope is a float32: take values that float32 holds exactly.
        ('leaky_relu', 2**-7),
        ('leaky_relu', 2**-10),
        ('identity', 2**-7),
    ],
)
def test_equals_inplace_abn(activation, slope, training):
    g = torch.Generator().manual_seed(0)
    ours = InPlaceABN(5, activation=activation, slope=slope).double()
    theirs = peer.InPlaceABN(5, activation=activation, activation_param=slope).double()
    raw = torch.rand(5, generator=g).double() + 0.5
    raw[::2] *= -1
    theirs.weight.data.copy_(raw)  # its scale is |gamma| + eps
    ours.weight.data.copy_(raw.abs() + ours.eps)
    for a, b in zip(
        (ours.bias, ours.running_mean, ours.running_var),
        (theirs.bias, theirs.running_mean, theirs.running_var),
    ):
        value = torch.rand(5, generator=g)
        a.data.copy_(value)
        b.data.copy_(value)
    x, grad = (torch.randn(3, 5, 6, 7, generator=g).double() for _ in range(2))
    results = []
    for norm in (ours, theirs):
        norm.train(training)
        leaf = x.clone().requires_grad_()
        # Its function works in place on its input, which no leaf may be.
        y = norm(leaf * 1)
        y.backward(grad)
        results.append(
            [y, leaf.grad, norm.bias.grad, norm.running_mean, norm.running_var]
        )
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        ours.weight.grad, theirs.weight.grad * raw.sign(), rtol=1e-10, atol=1e-10
    )
