"""Weights loaded through init_cfg compute what their own code computes."""

import pytest
import timm
import torch
from official import fill, golden, official_shapes
from safetensors.torch import save_file
from timm.models.tresnet import checkpoint_filter_fn
from torch import nn

from tresnet_det import TResNet
from tresnet_det.models.classifier import TResNetClassifier
from tresnet_det.weights.archs import ARCHS
from tresnet_det.weights.pretrained import open_checkpoint

NORMS = ('InPlaceABN', 'BN')
IMAGES = torch.rand(
    2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
)


def load(cls, arch, checkpoint, norm, **kwargs):
    """A model whose init_cfg names a file, in float64 and eval mode."""
    model = (
        cls(
            arch=arch,
            norm_cfg=dict(type=norm),
            init_cfg=dict(type='Pretrained', checkpoint=str(checkpoint)),
            **kwargs,
        )
        .double()
        .eval()
    )
    model.init_weights()
    return model


def close(ours, theirs, tolerance=1e-10):
    """Equal to a part of the largest value."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < tolerance * theirs.abs().max()


# L and XL are M's blocks, wider and deeper; their golden values: test_backbone.py.
@pytest.fixture(
    scope='module',
    params=[
        pytest.param(arch, marks=[pytest.mark.long] if arch in ('l', 'xl') else [])
        for arch in ARCHS
    ],
)
def theirs(request, tmp_path_factory):
    """timm's model, drawn weights, and files of them in every format."""
    arch = request.param
    folder = tmp_path_factory.mktemp(arch)
    model = timm.create_model(f'tresnet_{arch}', num_classes=10)
    timm_state = fill({k: v.shape for k, v in model.state_dict().items()})
    official_state = fill(official_shapes(arch, 10))
    save_file(timm_state, folder / 'model.safetensors')
    torch.save(timm_state, folder / 'pytorch_model.bin')
    torch.save({'model': official_state}, folder / 'official.pth')
    if arch == 'v2_l':
        for module in model.modules():
            if isinstance(module, nn.LeakyReLU):  # timm has 1e-2 and 1e-3
                module.negative_slope = 1e-6
    return arch, folder, model.double().eval(), timm_state, official_state


def outputs(model):
    with torch.no_grad():
        *maps, last = model.forward_intermediates(
            IMAGES, indices=[1, 2, 3, 4], intermediates_only=True
        )
        return [*maps, last], model.forward_head(last)


@pytest.mark.parametrize('kind', ['timm', 'official'])
def test_features_and_logits_are_timms(theirs, kind):
    arch, folder, model, timm_state, official_state = theirs
    # timm's own conversion of an official file, in float64.
    model.load_state_dict(
        timm_state
        if kind == 'timm'
        else checkpoint_filter_fn(
            {
                k: v.double() if v.is_floating_point() else v
                for k, v in official_state.items()
            },
            model,
        )
    )
    maps, logits = outputs(model)
    file = folder / ('model.safetensors' if kind == 'timm' else 'official.pth')
    backbones = [load(TResNet, arch, file, norm) for norm in NORMS]
    classifier = load(TResNetClassifier, arch, file, 'InPlaceABN', num_classes=10)
    with torch.no_grad():
        for backbone in backbones:
            for a, b in zip(backbone(IMAGES), maps, strict=True):
                close(a, b)
        close(classifier(IMAGES), logits)


def test_pickle_and_safetensors_are_read_alike(theirs):
    _, folder, *_ = theirs
    one, other = (
        open_checkpoint(str(folder / name)).weights
        for name in ('model.safetensors', 'pytorch_model.bin')
    )
    assert one.state.keys() == other.state.keys()
    assert all(torch.equal(one.state[k], other.state[k]) for k in one.state)


@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize(
    'size', ['96x160', pytest.param('224x224', marks=pytest.mark.long)]
)
def test_official_m_is_the_official_network(tmp_path, norm, size):
    """Against values of the official code, to float64's own accuracy."""
    file = tmp_path / 'tresnet_m.pth'
    torch.save({'model': fill(official_shapes('m'))}, file)
    expected = golden(size)
    backbone = load(TResNet, 'm', file, norm)
    classifier = load(TResNetClassifier, 'm', file, norm)
    with torch.no_grad():
        maps = backbone(expected['images'])
        logits = classifier(expected['images'])[0, :16]
    close(logits, torch.tensor(expected['logits16'], dtype=torch.float64), 1e-11)
    for value, entry in zip(maps, expected['eval'], strict=True):
        assert list(value.shape) == entry['shape']
        picked = value.flatten()[[int(i) for i in entry['samples']]]
        close(
            picked,
            torch.tensor(list(entry['samples'].values()), dtype=torch.float64),
            1e-11,
        )
        assert value.mean().item() == pytest.approx(entry['mean'], rel=1e-11)
        assert value.std().item() == pytest.approx(entry['std'], rel=1e-11)
