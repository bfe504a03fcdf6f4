"""The activated norm against batch norm and leaky ReLU."""

import copy
import io
import itertools

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from halves import HALVES
from mmcv.cnn import build_norm_layer
from torch.autograd import gradcheck
from torch.utils.checkpoint import checkpoint

from tresnet_det import InPlaceABN, SyncInPlaceABN
from tresnet_det.models.abn_functional import (
    activated_batch_norm,
    gated_batch_norm,
    recoverable,
)
from tresnet_det.models.conv_norm import conv_norm
from tresnet_det.models.layers import SqueezeExcite

C = 6
SLOPES = (1e-2, 1e-3, 1e-6)


def rand(*shape, seed=0, dtype=torch.float64):
    return torch.randn(
        shape, dtype=dtype, generator=torch.Generator().manual_seed(seed)
    )


def fill(module, seed=0):
    """Random parameters and statistics; some gammas negative, one 0."""
    g = torch.Generator().manual_seed(seed)
    for name, t in (*module.named_parameters(), *module.named_buffers()):
        if t.is_floating_point():
            t.data.copy_(torch.randn(t.shape, generator=g))
            if name.endswith('running_var'):
                t.data.abs_().add_(0.1)
            elif name.endswith('weight') and t.dim() == 1 and len(t) > 2:
                t.data[::2] = t.data[::2].abs() + 0.5
                t.data[2] = 0.0
    return module


class Reference(nn.Module):
    """torch's batch norm, then leaky ReLU, with an InPlaceABN's weights."""

    def __init__(self, abn):
        super().__init__()
        self.bn = nn.BatchNorm2d(
            abn.num_features, abn.eps, abn.momentum, abn.affine, abn.track_running_stats
        )
        tensors = [*abn.parameters(), *abn.buffers()]
        if tensors:
            self.bn.to(tensors[0].dtype)
        self.bn.load_state_dict(abn.state_dict())
        self.bn.train(abn.training)
        for ours, theirs in zip(abn.parameters(), self.bn.parameters()):
            theirs.requires_grad_(ours.requires_grad)
        self.slope = abn.slope if abn.activation == 'leaky_relu' else None

    def forward(self, x):
        z = self.bn(x)
        return z if self.slope is None else F.leaky_relu(z, self.slope)


def run(module, x, grad):
    """Output, all gradients by name, and buffers after one step."""
    x = x.detach().clone().requires_grad_(x.requires_grad)
    y = module(x)
    if y.requires_grad:
        y.backward(grad)
    grads = {n.split('.')[-1]: p.grad for n, p in module.named_parameters()}
    return y, dict(grads, x=x.grad), list(module.buffers())


def assert_same(abn, x, grad, rtol=1e-10):
    reference = Reference(abn)
    ours, theirs = run(abn, x, grad), run(reference, x, grad)
    torch.testing.assert_close(ours[0], theirs[0], rtol=rtol, atol=rtol)
    assert ours[1].keys() == theirs[1].keys()
    for name, want in theirs[1].items():
        got = ours[1][name]
        assert (got is None) == (want is None), name
        if want is not None:
            scale = want.abs().max().clamp(min=1e-30)
            assert ((got - want).abs().max() / scale) < rtol, name
    for got, want in zip(ours[2], theirs[2]):
        torch.testing.assert_close(got, want, rtol=rtol, atol=rtol)


OPTIONS = list(
    itertools.product(
        [('identity', 0.01), *[('leaky_relu', s) for s in SLOPES]],
        [True, False],
        [True, False],
        [0.1, None],
        [True, False],
    )
)


@pytest.mark.parametrize('activation, affine, track, momentum, training', OPTIONS)
def test_equals_batch_norm_and_activation(
    activation, affine, track, momentum, training
):
    name, slope = activation
    abn = fill(
        InPlaceABN(C, 1e-3, momentum, affine, track, name, slope).double()
    ).train(training)
    x = rand(4, C, 5, 3).requires_grad_()
    assert_same(abn, x, rand(4, C, 5, 3, seed=1))
    if affine:
        # Frozen gamma and beta, and an input that needs no gradient.
        for weight, bias, data in itertools.product([True, False], repeat=3):
            abn.zero_grad(set_to_none=True)
            abn.weight.requires_grad_(weight)
            abn.bias.requires_grad_(bias)
            assert_same(abn, x.detach().requires_grad_(data), rand(4, C, 5, 3, seed=1))


@pytest.mark.parametrize('slope', [None, 0.5, 1e-2])
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('affine', [True, False])
def test_gradcheck(slope, training, affine):
    abn = fill(InPlaceABN(3, affine=affine).double()).train(training)
    stats = (None, None) if training else (abn.running_mean, abn.running_var)
    weights = (
        [abn.weight.detach().requires_grad_(), abn.bias.detach().requires_grad_()]
        if affine
        else [None, None]
    )

    def norm(x, weight, bias):
        return activated_batch_norm(
            x, weight, bias, *stats, training, 0.1, 1e-5, None, slope
        )

    def gated(x, weight, bias):
        return gated_batch_norm(
            x,
            weight,
            bias,
            *stats,
            training,
            0.1,
            1e-5,
            None,
            lambda z: z.mean((2, 3), keepdim=True).sigmoid(),
        )

    x = rand(3, 3, 2, 2).requires_grad_()
    assert gradcheck(norm, (x, *weights))
    assert gradcheck(gated, (x, *weights))


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('lean', [True, False])
@pytest.mark.parametrize('widening', [1, 4, 8])
@pytest.mark.parametrize('kind', ['gate', 'pool', ''])
def test_conv_norm(training, lean, widening, kind):
    """With gammas of any size, and means that are large beside the deviations."""
    width = 16
    conv = nn.Conv2d(width // widening, width, 1, bias=False).double()
    abn = fill(InPlaceABN(width, activation='identity').double()).train(training)
    with torch.no_grad():
        abn.weight[:3] = torch.tensor([0.0, 1e-9, -30.0])
    twin = copy.deepcopy(abn)
    x = (rand(4, width // widening, 5, 6) + 3).requires_grad_()
    gate = rand(4, width // widening, 1, 1).requires_grad_() if kind == 'gate' else None
    inputs = [t for t in (x, gate, conv.weight) if t is not None]
    pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)

    def wanted_of(norm):
        g = pool(x) if kind == 'pool' else x
        return norm(conv(g if gate is None else g * gate))

    y = conv_norm(x, conv, abn, gate, kind == 'pool', lean)
    loss = rand(*y.shape, seed=3)
    grads = torch.autograd.grad(
        (y.square() + loss * y).sum(), [*inputs, *abn.parameters()]
    )
    z = wanted_of(plain := Reference(twin))
    wanted = torch.autograd.grad(
        (z.square() + loss * z).sum(), [*inputs, *plain.parameters()]
    )
    torch.testing.assert_close(y, z)
    assert len(grads) == len(wanted)
    for got, want in zip(grads, wanted):
        assert (got - want).norm() <= 1e-10 * want.norm()
    with torch.no_grad():
        torch.testing.assert_close(
            conv_norm(x, conv, abn.eval(), gate, kind == 'pool', lean), wanted_of(abn)
        )


@pytest.mark.parametrize('parallel, limit', [(0.0, 1.5), (0.1, 2.5), (10.0, 6.0)])
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('dtype', [torch.float32, *HALVES])
def test_errors_of_conv_norm(dtype, training, parallel, limit):
    """Against batch norm's, also where nearly all of the gradient cancels."""
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 256, 1, bias=False)
    norm = InPlaceABN(256, activation='identity')
    x = rand(4, 64, 14, 14).abs().add(0.3)
    norm(conv(x.float()))
    norm.train(training)
    exact = copy.deepcopy(nn.Sequential(conv, Reference(norm))).double()
    with torch.no_grad():
        along = exact(x)
    loss = rand(*along.shape, seed=1) + parallel * (along + 0.5)

    def grads(f, dtype):
        leaves = [x.to(dtype).requires_grad_()]
        leaves += (
            exact.parameters() if f is exact else (conv.weight, *norm.parameters())
        )
        low = dtype in (torch.bfloat16, torch.float16)
        with torch.autocast('cpu', dtype if low else None, enabled=low):
            y = f(leaves[0])
        return torch.autograd.grad(y, leaves, loss.to(y.dtype))

    wanted = grads(exact, torch.float64)
    ours = grads(lambda x: conv_norm(x, conv, norm, lean=True), dtype)
    theirs = grads(lambda x: norm(conv(x)), dtype)
    for got, other, want in zip(ours, theirs, wanted):
        error, usual = ((g.double() - want).norm() for g in (got, other))
        assert error <= limit * usual + 1e-7 * want.norm(), (error, usual)


def test_gated_norm_equals_norm_then_gate():
    abn = fill(InPlaceABN(C, activation='identity').double())
    se, x = SqueezeExcite(C, 4).double(), rand(3, C, 4, 4).requires_grad_()
    wanted = Reference(abn)(x)
    wanted = wanted * se.gate(wanted)
    got = abn.forward_gated(x, se.gate)
    torch.testing.assert_close(got, wanted)
    leaves = [x, *se.parameters()]
    for ours, theirs in zip(
        torch.autograd.grad(got.sum(), leaves),
        torch.autograd.grad(wanted.sum(), leaves),
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('offset', [0, 3, 30])
def test_gradient_of_a_gate_is_not_lost_beside_a_mean(offset):
    """A map whose mean is many deviations, and gradients that have a mean."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, C, 40, 40, generator=draw) + offset
    grad = torch.rand(2, C, 40, 40, generator=draw)
    wanted = ((x.double() - x.double().mean((0, 2, 3), keepdim=True)) * grad).sum(
        (2, 3)
    )
    wanted = wanted / (x.double().var((0, 2, 3), unbiased=False) + 1e-5).sqrt()
    gate = torch.ones(2, C, 1, 1, requires_grad=True)
    InPlaceABN(C, activation='identity').forward_gated(x, lambda z: gate).backward(grad)
    error = (gate.grad[:, :, 0, 0] - wanted).abs().max() / wanted.abs().max()
    assert error <= 1e-6 * (1 + 2 * offset), error


@pytest.mark.parametrize('shape', [(4, C), (4, C, 7), (2, C, 3, 4, 5)])
def test_any_number_of_dimensions(shape):
    x, abn = rand(*shape), fill(InPlaceABN(C).double())
    x1, x2 = x.clone().requires_grad_(), x.clone().requires_grad_()
    y = abn(x1)
    z = F.leaky_relu(
        F.batch_norm(x2, None, None, abn.weight, abn.bias, True), abn.slope
    )
    torch.testing.assert_close(y, z)
    y.square().sum().backward()
    z.square().sum().backward()
    torch.testing.assert_close(x1.grad, x2.grad)


def test_channels_last_stays_and_is_exact():
    abn = fill(InPlaceABN(C).double())
    x = rand(4, C, 5, 3).to(memory_format=torch.channels_last)
    x.requires_grad_()
    assert_same(abn, x, rand(4, C, 5, 3, seed=1))
    y = abn(x)
    y.sum().backward()
    assert y.is_contiguous(memory_format=torch.channels_last)


def total_error(module, x, grad, wanted):
    """Root of the summed squares of each gradient's relative error.

    Relative by tensor, so that the scale of x, which moves the gradient by x
    but not those by gamma and beta, does not decide.
    """
    _, got, _ = run(module, x, grad)
    return float(
        sum(
            ((got[k].double() - w).norm() / w.norm()).square()
            for k, w in wanted.items()
        ).sqrt()
    )


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('slope', [*SLOPES, None])
@pytest.mark.parametrize('dtype', HALVES)
def test_half_precision_layer(dtype, slope, training):
    """At most 1.5 times the error of batch norm + activation.

    The gradients by input and beta have the very same error; gamma's gets
    the rounding of y, about as much as the input's gradient has.
    """
    # Many channels: the ratio's own spread shrinks with their root.
    shape = (8, 256, 8, 8)
    activation = dict(activation='identity') if slope is None else dict(slope=slope)
    abn = InPlaceABN(256, **activation).train(training)
    with torch.no_grad():
        abn.weight.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(2))
        abn.bias.copy_(0.1 * rand(256, seed=3))
    x, grad = rand(*shape).to(dtype), rand(*shape, seed=1).to(dtype)
    x.requires_grad_()
    exact = copy.deepcopy(abn).double()
    _, wanted, _ = run(
        Reference(exact), x.detach().double().requires_grad_(), grad.double()
    )
    reference = total_error(Reference(abn), x, grad, wanted)
    ours = total_error(abn, x, grad, wanted)
    assert abn.weight.grad.dtype == torch.float32
    assert ours <= 1.5 * reference, ours / reference


@pytest.mark.parametrize('gamma', [0.0, 1e-30, 1e-12, 1e-6, -1e-3])
@pytest.mark.parametrize('slope', SLOPES)
def test_tiny_gamma_has_its_true_gradient(gamma, slope):
    """gamma's gradient is sum(dz * xhat) also where gamma is 0."""
    abn = fill(InPlaceABN(C, slope=slope))
    with torch.no_grad():
        abn.weight[1] = gamma
        abn.bias[1] = 0.3
        abn.bias[2] = 0.0
    x, grad = rand(4, C, 5, 5).float(), rand(4, C, 5, 5, seed=1).float()
    x.requires_grad_()
    assert_same(abn, x, grad, rtol=1e-4)
    assert abn.weight.grad[1] != 0


def test_only_unrecoverable_channels_keep_their_input():
    abn = fill(InPlaceABN(8))
    with torch.no_grad():
        abn.bias.fill_(0.1)
        abn.weight.copy_(torch.tensor([1.0, 1.0, 0.0, -1.0, 0.5, 0.01, 1.0, 1.0]))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(tuple(t.shape)) or t, lambda t: t
    ):
        abn(rand(2, 8, 5, 5).float().requires_grad_())
    assert [s for s in kept if len(s) == 4] == [(2, 8, 5, 5), (2, 2, 5, 5)]


def test_recoverable_by_dtype():
    one, zero = torch.ones(1), torch.zeros(1)
    assert recoverable(one, zero, 1e-6, torch.float32)
    assert recoverable(one, zero, 1e-6, torch.bfloat16)
    assert recoverable(one, zero, 1e-3, torch.float16)
    assert not recoverable(one, zero, 1e-6, torch.float16)
    assert not recoverable(zero, zero, 1e-2, torch.float64)
    assert not recoverable(one * float('nan'), zero, 1e-2, torch.float64)


@pytest.mark.parametrize('cls', [InPlaceABN, SyncInPlaceABN])
def test_nan_is_not_hidden(cls):
    abn = fill(cls(C))
    x = rand(2, C, 4, 4).float()
    x[0, 1, 0, 0] = float('nan')
    x.requires_grad_()
    y = abn(x)
    y.sum().backward()
    assert y[:, 1].isnan().all() and not y[:, 0].isnan().any()
    assert x.grad[:, 1].isnan().all() and abn.weight.grad[1].isnan()


@pytest.mark.parametrize('dtype', HALVES)
def test_autocast_keeps_parameters_in_float32(dtype):
    net = nn.Sequential(nn.Conv2d(3, C, 3), fill(InPlaceABN(C)), nn.Conv2d(C, 4, 1))
    with torch.autocast('cpu', dtype):
        y = net(rand(2, 3, 8, 8).float())
    assert y.dtype == dtype
    y.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in net.parameters())
    assert net[1].running_mean.dtype == torch.float32


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('dtype', HALVES)
def test_model_wholly_in_half_precision(dtype, training):
    abn = fill(InPlaceABN(C)).to(dtype).train(training)
    x = rand(4, C, 8, 8).to(dtype)
    for forward in (abn, lambda t: abn.forward_gated(t, torch.sigmoid)):
        leaf = x.clone().requires_grad_()
        forward(leaf).float().square().sum().backward()
        assert leaf.grad.isfinite().all() and leaf.grad.dtype == dtype
    assert abn.weight.grad.dtype == dtype


@pytest.mark.parametrize('cls', [InPlaceABN, SyncInPlaceABN])
def test_empty_batch(cls):
    x = torch.zeros(0, C, 4, 4, requires_grad=True)
    for training in (True, False):
        abn = cls(C).train(training)
        abn(x).sum().backward()
        assert x.grad.shape == x.shape and not abn.weight.grad.any()


def test_gradient_checkpointing():
    abn = fill(InPlaceABN(C).double()).eval()
    x = rand(2, C, 4, 4).requires_grad_()
    wanted = torch.autograd.grad(abn(x).square().sum(), x)[0]
    got = torch.autograd.grad(
        checkpoint(abn, x, use_reentrant=False).square().sum(), x
    )[0]
    assert torch.equal(got, wanted)


@pytest.mark.parametrize('training', [True, False])
def test_compiles_without_graph_break(training):
    abn = fill(InPlaceABN(C)).train(training)
    compiled = torch.compile(copy.deepcopy(abn), backend='aot_eager', fullgraph=True)
    x = rand(2, C, 4, 4).float()
    results = []
    for module in (abn, compiled):
        leaf = x.clone().requires_grad_()
        y = module(leaf)
        y.square().sum().backward()
        results.append((y, leaf.grad))
    for got, want in zip(*results):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(abn.running_var, compiled.running_var)


def test_state_dict_is_that_of_batch_norm():
    abn, bn = fill(InPlaceABN(C)), nn.BatchNorm2d(C)
    assert abn.state_dict().keys() == bn.state_dict().keys()
    bn.load_state_dict(abn.state_dict())
    InPlaceABN(C).load_state_dict(bn.state_dict())


def test_copy_pickle_and_meta():
    abn = fill(InPlaceABN(C, slope=1e-3)).eval()
    x = rand(2, C, 3, 3).float()
    buffer = io.BytesIO()
    torch.save(abn, buffer)
    buffer.seek(0)
    restored = torch.load(buffer, weights_only=False)  # written just above
    for twin in (copy.deepcopy(abn), restored):
        assert torch.equal(twin(x), abn(x))
    y = InPlaceABN(C).to('meta')(torch.empty(2, C, 3, 3, device='meta'))
    y.sum().backward()
    assert y.shape == (2, C, 3, 3)


def test_registered_norm_layer():
    cfg = dict(
        type='InPlaceABN', activation='leaky_relu', slope=0.2, requires_grad=False
    )
    name, layer = build_norm_layer(cfg, C, postfix=1)
    assert name == 'bn1' and type(layer) is InPlaceABN and layer.slope == 0.2
    assert not layer.weight.requires_grad
    assert isinstance(
        build_norm_layer(dict(type='SyncInPlaceABN'), C)[1], SyncInPlaceABN
    )


def test_conversion_to_sync_batch_norm_is_refused():
    net = nn.Sequential(nn.Conv2d(3, C, 1), InPlaceABN(C))
    with pytest.raises(TypeError, match='SyncInPlaceABN'):
        nn.SyncBatchNorm.convert_sync_batchnorm(net)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(activation='relu'), "activation is 'relu'"),
        (dict(slope=0), 'slope is 0'),
        (dict(slope=-0.1), 'slope is -0.1'),
        (dict(slope=float('nan')), 'slope is nan'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        InPlaceABN(C, **kwargs)


@pytest.mark.parametrize(
    'shape, message',
    [
        ((2, C + 1, 3, 3), 'input has shape'),
        ((C,), 'input has shape'),
        ((1, C, 1, 1), 'more than 1 value'),
    ],
)
@pytest.mark.parametrize('method', ['forward', 'gated'])
def test_bad_inputs(shape, message, method):
    abn = InPlaceABN(C)
    with pytest.raises(ValueError, match=message):
        x = torch.zeros(shape, requires_grad=True)
        if method == 'gated':
            abn.forward_gated(x, torch.sigmoid)
        else:
            abn(x)
