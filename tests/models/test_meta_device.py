"""Every way from the meta device to a model that computes what it should.

The blur's filter is in no state dict, so nothing loads it.
"""

import copy
import pickle

import pytest
import torch
import torch.nn as nn
from mmengine.model import ExponentialMovingAverage

from tresnet_det import TResNet
from tresnet_det.models.layers import BlurPool

SMALL = dict(depths=(1, 1, 1, 1), width=8)
FILTER = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16


def build(norm='InPlaceABN'):
    torch.manual_seed(0)
    return TResNet(SMALL, norm_cfg=dict(type=norm)).eval()


def on_meta(norm):
    with torch.device('meta'):
        return build(norm)


def emptied(model, state):
    model = model.to_empty(device='cpu')
    for buffer in model.buffers():  # what an allocator may well leave
        if buffer.is_floating_point() and buffer.dim() < 4:
            buffer.fill_(1e15)
    model.load_state_dict(state)
    return model


def assigned(model, state):
    model.load_state_dict(state, assign=True)
    return model


def assigned_and_moved(model, state):
    model.load_state_dict(state, assign=True)
    return model.to('cpu')


def emptied_one_by_one(model, state):
    """As FSDP does: each module that has tensors, then reset_parameters()."""
    for module in model.modules():
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if own:
            module.to_empty(device='cpu', recurse=False)
            module.reset_parameters()
    model.load_state_dict(state)
    return model


def set_one_by_one(model, state):
    """As accelerate does: tensor by tensor, by names of the state dict."""
    for name, value in state.items():
        path, _, leaf = name.rpartition('.')
        module = model.get_submodule(path)
        if leaf in module._parameters:
            module._parameters[leaf] = nn.Parameter(value.clone())
        else:
            module._buffers[leaf] = value.clone()
    return model


@pytest.mark.parametrize(
    'way',
    [emptied, assigned, assigned_and_moved, emptied_one_by_one, set_one_by_one],
)
@pytest.mark.parametrize('norm', ['BN', 'InPlaceABN'])
def test_from_the_meta_device(norm, way):
    wanted = build()
    state = {k: v.clone() for k, v in wanted.state_dict().items()}
    model = way(on_meta(norm), state)
    x = torch.randn(2, 3, 45, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for y, want in zip(model(x), wanted(x)):
            torch.testing.assert_close(y, want)
    assert list(model.state_dict()) == list(state)
    assert not any(t.is_meta for t in (*model.parameters(), *model.buffers()))


def test_every_tensor_is_loaded_or_rebuilt():
    """So a new fixed tensor is either in the state dict or in this test."""
    model = build()
    fixed = {n for n, _ in model.named_buffers()} - set(model.state_dict())
    blurs = [n for n, m in model.named_modules() if isinstance(m, BlurPool)]
    assert fixed == {f'{name}.weight' for name in blurs}


@pytest.mark.parametrize(
    'change',
    [
        copy.deepcopy,
        lambda m: pickle.loads(pickle.dumps(m)),
        lambda m: m.half().float(),
        lambda m: m.bfloat16(),
        lambda m: m.double(),
        lambda m: m.to('meta').to_empty(device='cpu'),
        lambda m: m.to(memory_format=torch.channels_last),
        lambda m: m.share_memory(),
        lambda m: average(m).module,
    ],
)
def test_filter_is_the_same_after(change):
    blur = change(nn.Sequential(BlurPool(2), nn.Conv2d(2, 2, 1)))[0]
    assert blur.weight.shape == (2, 1, 3, 3)
    assert torch.equal(blur.weight.float(), FILTER.expand(2, 1, 3, 3))


def average(model):
    ema = ExponentialMovingAverage(model, momentum=0.3, update_buffers=True)
    for _ in range(3):
        ema.update_parameters(model)
    return ema


def test_a_move_to_where_it_is_touches_nothing():
    """Another thread may be computing with the filter."""
    blur = BlurPool(2)
    before, version = blur.weight, blur.weight._version
    blur.to('cpu').float().share_memory()
    assert blur.weight is before and before._version == version


def test_meta_maps_of_a_meta_model():
    model = on_meta('InPlaceABN')
    shapes = [y.shape for y in model(torch.empty(1, 3, 33, 64, device='meta'))]
    assert [tuple(s[2:]) for s in shapes] == [(9, 16), (5, 8), (3, 4), (2, 2)]
    assert model.layer2[0].blur.weight.is_meta
