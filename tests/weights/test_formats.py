"""The table of names, the norm scale, and what is no TResNet."""

import json

import pytest
import timm
import torch
import torchvision
from official import REFERENCE, fill, official_shapes

from tresnet_det import TResNet
from tresnet_det.weights.archs import ARCHS
from tresnet_det.weights.formats import CheckpointError, from_ours, locate, to_ours
from tresnet_det.weights.pretrained import describe_arch

TINY = dict(depths=(1, 2, 1, 1), width=8)
STEM = {'body.conv1.0.weight': torch.ones(1, 1, 3, 3)}


@pytest.fixture(scope='module')
def ours():
    """State dict of a small TResNet with a classifier, in our names."""
    shapes = {k: v.shape for k, v in TResNet(TINY).state_dict().items()}
    return fill({**shapes, 'head.fc.weight': (5, 256), 'head.fc.bias': (5,)})


@pytest.fixture(scope='module')
def official():
    return {arch: fill(official_shapes(arch, 10)) for arch in ARCHS}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def official_parts(state):
    """Tensors that every format holds alike, and the scales they mean."""
    gammas = {k: v for k, v in state.items() if v.dim() == 1 and k.endswith('weight')}
    return {k: v for k, v in state.items() if k not in gammas}, gammas


@pytest.mark.parametrize('arch', ARCHS)
def test_official_keys_are_those_published(arch):
    path = REFERENCE / f'keys_{arch}.json'
    if not path.is_file():
        pytest.skip(f'{path} is not there (TRESNET_DET_REFERENCE names the folder)')
    published = json.loads(path.read_text())
    assert official_shapes(arch) == {k: tuple(v) for k, v in published.items()}


@pytest.mark.parametrize('arch', ARCHS)
def test_timm_keys_are_timms(arch):
    with torch.device('meta'):
        theirs = timm.create_model(f'tresnet_{arch}').state_dict()
    weights = to_ours(theirs)
    assert (weights.format, weights.prefix) == ('timm', '')
    assert not weights.dropped and not weights.unexpected
    assert from_ours(weights.state, 'timm').keys() == theirs.keys()
    assert (
        weights.state.keys() - {'head.fc.weight', 'head.fc.bias'}
        == TResNet(arch).state_dict().keys()
    )


@pytest.mark.parametrize('arch', ARCHS)
def test_official_to_mm_to_timm_to_official(arch, official):
    """All but gamma bit for bit; its scale too; |gamma| within 1 ulp."""
    first = official[arch]
    mm = from_ours(to_ours(first).state, 'mm')
    theirs = from_ours(to_ours(mm).state, 'timm')
    last = from_ours(to_ours(theirs).state, 'official')
    plain, gammas = official_parts(first)
    plain_after, gammas_after = official_parts(last)
    assert equal(plain, plain_after)
    assert equal(to_ours(first).state, to_ours(last).state)
    for key, gamma in gammas.items():
        before, after = gamma.abs(), gammas_after[key]
        assert (after >= 0).all()
        assert ((after - before).abs() <= ulp(before)).all()


def test_official_scale_is_timms_own_conversion(official):
    from timm.models.tresnet import checkpoint_filter_fn

    theirs = checkpoint_filter_fn(dict(official['m']), None)
    assert equal(from_ours(to_ours(official['m']).state, 'timm'), theirs)


def test_official_scale_in_float64(official):
    key = 'body.layer1.0.conv1.1.weight'
    gamma = official['m'][key].double()
    scale = to_ours(official['m'], dtype=torch.float64).state['layer1.0.bn1.weight']
    assert torch.equal(scale, gamma.abs() + 1e-5)


@pytest.mark.parametrize('format_name', ['mm', 'timm'])
def test_signs_and_values_stay_outside_the_official_format(ours, format_name):
    assert (ours['bn1.weight'] < 0).any()
    written = from_ours(ours, format_name)
    once = to_ours(written)
    assert once.format == format_name
    assert equal(once.state, ours)
    assert equal(from_ours(once.state, format_name), written)


@pytest.mark.parametrize(
    'prefix', ['', 'module.', 'backbone.', 'module.backbone.', 'model.']
)
def test_any_prefix(ours, prefix):
    bare = {k: v for k, v in ours.items() if not k.startswith('head.')}
    weights = to_ours({prefix + k: v for k, v in bare.items()})
    assert (weights.format, weights.prefix) == ('mm', prefix)
    assert equal(weights.state, bare)


def test_classifier_beside_the_backbone(ours):
    weights = to_ours({f'module.{k}': v for k, v in from_ours(ours, 'mm').items()})
    assert weights.prefix == 'module.backbone.'
    assert equal(weights.state, ours)


def test_left_out_on_purpose_and_unknown(ours):
    state = from_ours(ours, 'official')
    plus = {
        **state,
        'body.layer2.0.conv1.1.filt': torch.ones(1),
        'head.decoder.query': torch.ones(1),
        'body.layer1.0.attention.weight': torch.ones(1),
    }
    weights = to_ours(plus)
    assert equal(weights.state, to_ours(state).state)
    assert weights.dropped == {
        'body.layer2.0.conv1.1.filt': 'fixed blur filter',
        'head.decoder.query': 'another kind of head',
    }
    assert weights.unexpected == ['body.layer1.0.attention.weight']


def test_two_in_one_file(ours):
    bare = {k: v for k, v in ours.items() if not k.startswith('head.')}
    both = {
        f'{who}.backbone.{k}': v + (who == 'teacher')
        for who in ('student', 'teacher')
        for k, v in bare.items()
    }
    with pytest.raises(
        CheckpointError,
        match="'student.backbone.', "
        r"'teacher.backbone.'.*prefix=",
    ):
        to_ours(both)
    chosen = to_ours(both, 'student.backbone')
    assert equal(chosen.state, bare)
    assert set(chosen.dropped.values()) == {'outside the backbone'}
    with pytest.raises(CheckpointError, match="prefix 'ema.'"):
        to_ours(both, 'ema.')


def test_resnet_is_named():
    with torch.device('meta'):
        state = torchvision.models.resnet50().state_dict()
    with pytest.raises(CheckpointError, match='like those of a ResNet'):
        locate(state)


def test_nothing_like_it():
    with pytest.raises(
        CheckpointError, match='transformer.weight .*official: body.conv1.0.weight'
    ):
        locate(['transformer.weight'])


def test_unknown_format_and_name(ours):
    with pytest.raises(CheckpointError, match="'onnx'.*mm, official, timm"):
        from_ours(ours, 'onnx')
    with pytest.raises(CheckpointError, match="'layer5.0.conv1.weight'"):
        from_ours({'layer5.0.conv1.weight': torch.ones(1)}, 'timm')


@pytest.mark.parametrize(
    'format_name, key',
    [
        ('mm', 'backbone.bn1.weight'),
        ('official', 'body.conv1.1.weight'),
        ('timm', 'body.layer1.0.conv1.conv.weight'),
    ],
)
@pytest.mark.parametrize(
    'odd',
    [
        torch.Tensor.to_sparse,
        lambda t: t.to(torch.complex64),
        lambda t: t.to(torch.float8_e4m3fn),
        lambda t: t.reshape(-1)[:1].expand(10**15),
        lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
    ],
    ids=['sparse', 'complex', 'float8', 'expanded', 'quantised'],
)
def test_what_is_no_weight_is_refused(ours, format_name, key, odd):
    state = from_ours(ours, format_name)
    with pytest.raises(CheckpointError, match=f'{key} (is|has)'):
        to_ours({**state, key: odd(state[key])})


@pytest.mark.parametrize(
    'name', ['conv1.weight', 'head.fc.weight', 'layer1.0.se.fc1.weight']
)
def test_convs_and_classifiers_have_their_dimensions(ours, name):
    with pytest.raises(CheckpointError, match=r'the shape \(\); expected is'):
        to_ours({**ours, name: torch.tensor(1.0)})


@pytest.mark.parametrize('number', ['9' * 5000, '1000', '\u0663'])
def test_numbers_of_blocks_that_no_network_has(ours, number):
    key = f'layer1.{number}.conv1.weight'
    read = to_ours({**ours, key: torch.ones(1)})
    assert read.unexpected == [key]
    describe_arch(read.state)


@pytest.mark.parametrize('lost', ['layer1.0.conv1.weight', 'layer1.0.bn1.running_mean'])
def test_a_negative_scale_needs_its_conv(ours, lost):
    state = {**ours, 'layer1.0.bn1.weight': -torch.ones(8)}
    from_ours(state, 'official')
    del state[lost]
    with pytest.raises(CheckpointError, match=f'not there.*{lost}'):
        from_ours(state, 'official')


def ulp(value):
    return torch.nextafter(value, value + 1) - value


def there_and_back(scale):
    """A scale written to the official format and read again."""
    gamma = from_ours({'bn1.weight': scale}, 'official')
    return to_ours({**STEM, **gamma}).state['bn1.weight']


def test_scales_in_the_official_format():
    """Bit for bit where an official file can say it, else within 1 ulp."""
    exponent = torch.rand(200_000, generator=torch.Generator().manual_seed(0))
    gamma = torch.cat(
        [
            10 ** (exponent * 8 - 7),
            torch.tensor(
                [0.0, 1.0, torch.nextafter(torch.tensor(1.0), torch.tensor(0.0))]
            ),
        ]
    )
    readable = to_ours({**STEM, 'body.conv1.1.weight': gamma}).state['bn1.weight']
    assert torch.equal(there_and_back(readable), readable)
    other = gamma.clamp(min=2e-5)
    assert ((there_and_back(other) - other).abs() <= ulp(other)).all()


@pytest.mark.parametrize(
    'dtype', [torch.float64, torch.float32, torch.float16, torch.bfloat16]
)
def test_scales_below_eps_become_eps(dtype):
    back = there_and_back(torch.tensor([0.0, 5e-6, 2e-3], dtype=dtype))
    assert torch.equal(back[:2], torch.full((2,), 1e-5, dtype=back.dtype))
    assert back[2] == torch.tensor(2e-3, dtype=dtype).to(back.dtype)


@pytest.mark.parametrize('norm', ['InPlaceABN', 'BN'])
def test_negative_scales_compute_the_same_in_the_official_format(norm):
    def build(state):
        model = TResNet(TINY, norm_cfg=dict(type=norm)).double().eval()
        model.load_state_dict(state)
        return model

    shapes = {k: v.shape for k, v in TResNet(TINY).state_dict().items()}
    state = {
        k: v.double() if v.is_floating_point() else v for k, v in fill(shapes).items()
    }
    positive = to_ours(from_ours(state, 'official'), dtype=torch.float64).state
    assert all(
        (v > 0).all()
        for k, v in positive.items()
        if v.dim() == 1 and k.endswith('weight')
    )
    image = torch.rand(
        1, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        for a, b in zip(build(state)(image), build(positive)(image)):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('arch', ARCHS)
def test_arch_is_seen_in_the_shapes(arch):
    with torch.device('meta'):
        state = TResNet(arch).state_dict()
        first = TResNet(arch, out_indices=(0, 1)).state_dict()
    assert describe_arch(state) == arch
    assert describe_arch(first) == arch


def test_other_arch_is_described_as_it_is_built(ours):
    assert describe_arch(ours) == (
        'dict(depths=(1, 2, 1, 1), width=8, bottleneck=(False, False, True, True))'
    )
