"""The packed network: where it is used, and that it computes the same."""

import copy
import pickle
import threading

import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import RoIAlign
from small_detectors import ARCH, shaken, small_detector
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from tresnet_det import TResNet, UserError
from tresnet_det.deployment.folding import deployed, head_maps
from tresnet_det.deployment.packed import PackedTResNet, packed
from tresnet_det.models.layers import SqueezeExcite

BOTTLENECKS = dict(ARCH, bottleneck=(True,) * 4, slope=1e-6, stem_slope=1e-6)
OPERATOR = 'mkldnn::_convolution_pointwise'
# Some come in a row, some do not.
SIZES = [(1, 32, 32)] * 4 + [(2, 33, 47)] * 3 + [(1, 32, 32), (2, 33, 47)] * 2
SIZES += [(3, 97, 161)] * 4 + [(1, 36, 96)] * 3

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason='torch is built without oneDNN'
)


def network(arch=ARCH, norm='InPlaceABN', **kwargs):
    net = shaken(TResNet(arch, norm_cfg=dict(type=norm), **kwargs))
    return net, packed(deployed(net))


def images(count=1, height=64, width=48, channels=3):
    draw = torch.Generator().manual_seed(height)
    return torch.rand(count, channels, height, width, generator=draw)


def warm(net, x=None):
    with torch.no_grad():
        for _ in range(3):
            net(images() if x is None else x)


def near(maps, expected, tolerance=2e-5):
    for got, right in zip(maps, expected, strict=True):
        assert got.shape == right.shape and got.dtype == right.dtype
        assert (got - right).abs().max() <= tolerance * right.abs().max()


def fused_calls(run):
    with profile() as seen:
        run()
    return sum(event.count for event in seen.key_averages() if event.key == OPERATOR)


@torch.no_grad()
@pytest.mark.parametrize('norm', ['InPlaceABN', 'BN'])
@pytest.mark.parametrize('arch', [ARCH, BOTTLENECKS], ids=['basic', 'bottlenecks'])
def test_equals_the_network(arch, norm):
    net, fast = network(arch, norm)
    for count, height, width in SIZES:
        x = images(count, height, width)
        before = x.clone()
        near(fast(x), net(x))
        assert torch.equal(x, before)


@torch.no_grad()
@pytest.mark.parametrize('form', ['channels-last', 'transposed', 'expanded', 'slice'])
def test_images_of_any_strides(form):
    net, fast = network()
    x = images(2, 40, 44)
    if form == 'channels-last':
        x = x.contiguous(memory_format=torch.channels_last)
    elif form == 'transposed':
        x = x.transpose(2, 3)
    elif form == 'expanded':
        x = x[:1].expand(3, -1, -1, -1)
    else:
        x = images(2, 80, 88)[:, :, ::2, 1::2]
    for _ in range(4):
        near(fast(x), net(x))


@torch.no_grad()
def test_convs_are_one_operator_from_the_third_batch_of_a_shape_on():
    _, fast = network()
    calls = [
        fused_calls(lambda size=size: fast(images(*size)))
        for size in [(1, 32, 32)] * 4 + [(2, 32, 32)] * 2 + [(1, 32, 32)] * 3
    ]
    convs = calls[2]
    assert convs > 8
    assert calls == [0, 0, convs, convs, 0, 0, 0, 0, convs]


@torch.no_grad()
@pytest.mark.parametrize('size', [(32, 32), (33, 33), (64, 32), (40, 72)])
def test_maps_have_the_strides_of_new_tensors(size):
    """mmcv's RoIAlign reads others wrongly, and contiguous() keeps some of them."""
    _, fast = network()
    x = images(2, *size)
    for _ in range(4):
        for y in fast(x):
            assert y.stride() == torch.empty(y.shape).stride()
    grown = F.interpolate(fast(x)[-1], scale_factor=4, mode='bilinear')
    grown = F.conv2d(grown, torch.ones(8, grown.shape[1], 3, 3))
    rois = torch.tensor([[0.0, 0, 0, 20, 20], [1, 3, 5, 30, 28]])
    align = RoIAlign((3, 3), 0.125)
    assert torch.equal(align(grown, rois), align(grown.contiguous(), rois))


@torch.no_grad()
def test_a_detector_whose_backbone_is_packed():
    model = small_detector('fcos')
    fast = packed(deployed(model))
    assert isinstance(fast.backbone, PackedTResNet)
    for _ in range(4):
        # The head's group norms divide by the spread of maps of few pixels.
        x = images(2, 97, 65)
        near(head_maps(fast, x), head_maps(model, x), 2e-4)


@pytest.mark.parametrize(
    'case', ['float64', 'bfloat16', 'autocast', 'none', 'off', 'gradient', 'channels']
)
def test_else_it_is_the_network_itself(case):
    net, fast = network()
    folded = fast._net[0]
    x = images()
    warm(fast)
    dtype = dict(float64=torch.float64, bfloat16=torch.bfloat16).get(case)
    if dtype is not None:
        folded, x = folded.to(dtype), x.to(dtype)
    if case == 'none':
        x = x[:0]
    if case == 'channels':
        for _ in range(4):
            with pytest.raises(RuntimeError, match='expected input.* to have 3 chann'):
                fast(x[:, :2])
        return
    got = []
    with (
        torch.autocast('cpu', torch.bfloat16, enabled=case == 'autocast'),
        torch.backends.mkldnn.flags(enabled=case != 'off'),
        torch.set_grad_enabled(case == 'gradient'),
    ):
        x.requires_grad_(case == 'gradient')
        assert fused_calls(lambda: got.extend(fast(x))) == 0
        if case != 'none':
            near(got, folded(x), 1e-6)
    if case == 'gradient':
        sum(y.square().mean() for y in got).backward()
        y = images().requires_grad_()
        sum(y.square().mean() for y in net(y)).backward()
        near([x.grad], [y.grad], 1e-4)


@torch.no_grad()
def test_traced_counted_and_batched():
    net, fast = network()
    x = images()
    warm(fast)
    traced = torch.jit.trace(fast, x)
    assert 'mkldnn' not in str(traced.inlined_graph)
    near(traced(x), net(x))
    near([y[0] for y in torch.vmap(fast)(x[None])], net(x))
    with FlopCounterMode(display=False) as counted:
        fast(x)
    with FlopCounterMode(display=False) as right:
        fast._net[0](x)
    assert counted.get_total_flops() == right.get_total_flops() > 1e6


@torch.no_grad()
def test_copied_and_pickled():
    net, fast = network()
    warm(fast)
    for twin in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert twin._last == (None, 0, None)
        for _ in range(4):
            near(twin(images()), net(images()))


def test_nothing_can_change_the_weights_behind_it():
    _, fast = network()
    assert not [*fast.parameters(), *fast.buffers()]
    with pytest.raises(UserError, match='no state dict'):
        fast.state_dict()


def test_inference_mode_between():
    net, fast = network()
    for mode in (torch.inference_mode, torch.no_grad, torch.inference_mode):
        with mode():
            for _ in range(4):
                near(fast(images()), net(images()))
    for _ in range(4):  # with gradients, of which there are none
        near(fast(images()), [y.detach() for y in net(images())])


@torch.no_grad()
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf'), 1e30])
@pytest.mark.parametrize('slope', [0.0, 1e-3])
def test_nan_and_infinity_come_out(value, slope):
    net, fast = network(dict(ARCH, slope=slope, stem_slope=slope), 'BN')
    x = images()
    warm(fast)
    x[0, 1, 20, 20] = value
    for got, right in zip(fast(x), fast._net[0](x)):
        assert torch.equal(got.isnan(), right.isnan())
        assert torch.equal(got.isinf(), right.isinf())


def test_threads_with_images_of_several_sizes():
    net, fast = network()
    sizes = [(1, 32, 32), (2, 64, 48), (1, 97, 161)]
    wrong = []
    with torch.no_grad():
        expected = {size: net(images(*size)) for size in sizes}

    @torch.no_grad()
    def work(own):
        for i in range(45):
            size = sizes[(own + i // 5) % 3]
            try:
                near(fast(images(*size)), expected[size])
            except AssertionError:
                wrong.append(size)

    threads = [threading.Thread(target=work, args=(own,)) for own in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class TwiceGated(SqueezeExcite):
    def forward(self, x):
        return 2 * super().forward(x)


@torch.no_grad()
@pytest.mark.parametrize('case', ['subclass', 'hook', 'padding', 'activation', 'own'])
def test_what_it_does_not_know_stays(case):
    _, fast = network(norm='BN')
    net = fast._net[0]
    block = net.stages[0][0]
    conv, act = block.residual[0]
    gate = next(m for m in block.residual if isinstance(m, SqueezeExcite))
    if case == 'subclass':
        gate.__class__ = TwiceGated
    elif case == 'hook':
        for module in (gate, conv, act, block.act):
            module.register_forward_hook(lambda m, i, o: o * 2)
    elif case == 'padding':
        conv.padding_mode = 'reflect'
        conv._reversed_padding_repeated_twice = [1, 1, 1, 1]
    elif case == 'activation':
        act.__class__ = type('Own', (torch.nn.LeakyReLU,), dict(forward=doubled))
    else:
        act.forward = lambda x: x * 3
    for _ in range(4):
        near(fast(images()), net(images()))


def doubled(self, x):
    return x * 2


@torch.no_grad()
def test_moved_to_another_dtype_and_back():
    net, fast = network()
    warm(fast)
    fast.double()
    near(fast(images().double()), net.double()(images().double()), 1e-6)
    fast.float()
    for _ in range(4):
        near(fast(images()), net.float()(images()))
