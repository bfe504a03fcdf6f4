"""Conv and activation as one operator: where it is used, and what it computes."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from small_detectors import ARCH, shaken
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from tresnet_det import TResNet
from tresnet_det.deployment.folding import deployed
from tresnet_det.deployment.fused_conv import FusedConv, as_fused

OPERATOR = 'mkldnn::_convolution_pointwise'
SIZES = ((1, 32, 32), (1, 32, 32), (1, 32, 32), (2, 33, 47), (1, 32, 32), (2, 33, 47))

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason='torch is built without oneDNN'
)


def fused_conv(slope=0.1, **kwargs):
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(16, 24, 3, padding=1, **kwargs).requires_grad_(False)
    return FusedConv.of(conv, slope), conv


def images(count=2, height=20, width=28):
    draw = torch.Generator().manual_seed(height)
    return torch.randn(count, 16, height, width, generator=draw)


def expected(conv, x, slope=0.1):
    out = F.conv2d(x.double(), conv.weight.double(), conv.bias.double(), padding=1)
    return out if slope is None else F.leaky_relu(out, slope)


def near(got, right, tolerance=1e-5):
    assert got.shape == right.shape
    assert (got.double() - right).abs().max() <= tolerance * right.abs().max()


def fused_calls(run):
    with profile() as seen:
        run()
    return sum(event.count for event in seen.key_averages() if event.key == OPERATOR)


@torch.no_grad()
@pytest.mark.parametrize('slope', [None, 0.1, 1.0])
@pytest.mark.parametrize('channels_last', [False, True])
def test_equals_conv_and_activation(slope, channels_last):
    fused, conv = fused_conv(slope)
    for count, height, width in SIZES:
        x = images(count, height, width)
        got = fused(as_fused(x) if channels_last else x)
        near(got, expected(conv, x, slope))


@torch.no_grad()
def test_one_operator_for_each_conv_of_a_network():
    net = deployed(shaken(TResNet(ARCH)))
    convs = sum(isinstance(module, FusedConv) for module in net.modules())
    x = torch.rand(1, 3, 64, 64)
    assert convs > 8
    assert fused_calls(lambda: net(x)) == convs


def test_weights_are_in_order_from_the_second_map_of_a_size_on():
    fused, _ = fused_conv()
    packed = []
    for count, height, width in SIZES:
        fused(images(count, height, width))
        packed.append(fused._packed[1] is not None)
    assert packed == [False, True, True, False, False, False]


@pytest.mark.parametrize('change', ['in place', 'loaded', 'assigned', 'moved'])
def test_changed_weights_are_seen(change):
    fused, conv = fused_conv()
    for _ in range(3):
        fused(images())
    other = {name: value * 2 for name, value in conv.state_dict().items()}
    if change == 'in place':
        conv.weight.mul_(2)
        conv.bias.mul_(2)
    elif change == 'loaded':
        fused.load_state_dict(other)
    elif change == 'assigned':
        fused.load_state_dict(other, assign=True)
        fused.requires_grad_(False)
    else:
        fused.double().float()
        fused.weight.mul_(2), fused.bias.mul_(2)
    right = 2 * expected(fused_conv()[1], images())
    for _ in range(3):
        near(fused(images()), right)


def test_a_packed_conv_is_copied_and_pickled():
    fused, conv = fused_conv()
    for _ in range(3):
        fused(images())
    assert fused._packed[1] is not None
    for twin in (copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))):
        assert twin._packed == (None, None)
        near(twin(images()), expected(conv, images()))
    assert set(fused.state_dict()) == {'weight', 'bias'}


def test_weights_made_in_inference_mode():
    with torch.inference_mode():
        fused, conv = fused_conv()
        for _ in range(3):
            near(fused(images()), expected(conv, images()))
        conv.weight.mul_(2), conv.bias.mul_(2)
        near(fused(images()), 2 * expected(fused_conv()[1], images()))


@pytest.mark.parametrize('case', ['float64', 'bfloat16', 'autocast', 'none', 'off'])
def test_torch_computes_what_is_not_float32(case):
    fused, conv = fused_conv()
    x, half = images(), case in ('bfloat16', 'autocast')
    right = expected(conv, x)
    dtype = dict(float64=torch.float64, bfloat16=torch.bfloat16).get(case)
    if dtype is not None:
        fused, x = fused.to(dtype), x.to(dtype)
    if case == 'none':
        x, right = x[:0], right[:0]
    got = []

    def run():
        with (
            torch.autocast('cpu', torch.bfloat16, enabled=case == 'autocast'),
            torch.backends.mkldnn.flags(enabled=case != 'off'),
        ):
            assert as_fused(x) is x
            got.append(fused(x))

    assert fused_calls(run) == 0
    assert got[0].dtype == (torch.bfloat16 if half else x.dtype)
    if case != 'none':
        near(got[0], right, 2e-2 if half else 1e-5)
    assert got[0].shape == right.shape


def test_another_dtype_than_the_weights_is_refused_as_by_torch():
    fused, _ = fused_conv()
    with pytest.raises(RuntimeError, match='type'):
        fused.double()(images())


def test_gradients_are_torch_s():
    fused, conv = fused_conv()
    x = images().requires_grad_()
    assert as_fused(x) is x
    fused(x).square().sum().backward()
    y = images().double().requires_grad_()
    expected(conv, y).square().sum().backward()
    near(x.grad, y.grad)


@pytest.mark.parametrize('way', ['trace', 'vmap'])
def test_traced_and_batched(way):
    fused, conv = fused_conv()
    x = images()
    if way == 'trace':
        traced = torch.jit.trace(fused, x)
        assert 'mkldnn' not in str(traced.inlined_graph)
        near(traced(x), expected(conv, x))
    else:
        near(torch.vmap(fused)(x[:, None])[:, 0], expected(conv, x))


@torch.no_grad()
def test_operations_are_counted():
    net = deployed(shaken(TResNet(ARCH)))
    x = torch.rand(1, 3, 64, 64)
    with FlopCounterMode(display=False) as inside:
        net(x)
    with (
        torch.backends.mkldnn.flags(enabled=False),
        FlopCounterMode(display=False) as plain,
    ):
        net(x)
    assert inside.get_total_flops() == plain.get_total_flops() > 1e6
