"""Hooks, parametrisations and replaced modules work with every norm."""

import copy

import pytest
import torch
import torch.nn as nn
from test_backbone import build, image
from torch.nn.utils import (
    parametrizations,
    parametrize,
    prune,
    spectral_norm,
    weight_norm,
)
from torch.utils._python_dispatch import TorchDispatchMode

from tresnet_det import InPlaceABN

KINDS = {
    'BN': {},
    'InPlaceABN': {},
    'SyncInPlaceABN': {},
    'recompute': dict(recompute_last_conv=True),
    'cp': dict(with_cp=True),
    'norm_eval': dict(norm_eval=True),
}
NEIGHBOURS = ['layer1.0.bn2', 'layer3.0.conv3', 'layer3.0.bn3']
IN_PLACE = [kind for kind in KINDS if kind != 'BN']


def network(kind, **kwargs):
    norm = kind if kind in ('BN', 'SyncInPlaceABN') else 'InPlaceABN'
    return build(dict(type=norm), **KINDS[kind], **kwargs).double().train()


def step(model, x):
    """Outputs and gradients."""
    model.zero_grad()
    ys = model(x)
    sum(y.square().mean() for y in ys).backward()
    return ys, {n: p.grad for n, p in model.named_parameters()}


def assert_same(model, reference, steps=2):
    """Equal to batch norm in several steps of training."""
    models = (model, reference)
    optimisers = [torch.optim.SGD(m.parameters(), 1e-3) for m in models]
    for i in range(steps):
        x = image(32 + i, 64, dtype=torch.float64)
        (ours, grads), (theirs, wanted) = (step(m, x) for m in models)
        torch.testing.assert_close(ours, theirs)
        assert grads.keys() == wanted.keys()
        for name, want in wanted.items():
            assert (grads[name] is None) == (want is None), name
            if want is not None:
                assert (grads[name] - want).norm() <= 1e-9 * want.norm(), name
        for optimiser in optimisers:
            optimiser.step()


def leaves(model):
    return {n: m for n, m in model.named_modules() if not list(m.children())}


@pytest.mark.parametrize('kind', KINDS)
def test_forward_hooks_fire_on_every_module(kind):
    """Each module's hooks see the outputs that they see with batch norm."""
    seen = []
    for model in (network(kind), network('BN')):
        if kind == 'norm_eval':
            model.norm_eval = True
            model.train()
        got = {}
        for name, module in model.named_modules():

            def hook(module, args, output, name=name, got=got):
                got.setdefault(name, output[0] if name == '' else output.clone())

            module.register_forward_hook(hook)
        step(model, image(32, 64, dtype=torch.float64))
        seen.append(got)
    assert seen[0].keys() == dict(network('BN').named_modules()).keys()
    for name, output in seen[1].items():
        torch.testing.assert_close(seen[0][name], output, msg=name)


@pytest.mark.parametrize('kind', IN_PLACE)
@pytest.mark.parametrize(
    'name',
    [
        *('conv1', 'space_to_depth'),
        *(f'layer3.0.{name}' for name in ('conv3', 'bn1', 'bn2', 'bn3', 'act', 'se')),
        *(f'layer3.0.downsample.{name}' for name in ('pool', 'conv', 'bn')),
    ],
)
def test_one_hook_changes_nothing_but_memory(kind, name):
    model, calls = network(kind), []
    twin = copy.deepcopy(model)
    model.get_submodule(name).register_forward_hook(lambda *_: calls.append(1))
    assert_same(model, twin)
    assert calls


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', ['layer1.0.se', 'layer3.0.bn3'])
def test_what_a_hook_keeps_is_not_changed(kind, name):
    """The sum of a block is in place only where nobody has seen the map."""
    model, kept = network(kind), []

    def keep(module, args, output):
        kept.append((output, output.detach().clone()))

    model.get_submodule(name).register_forward_hook(keep)
    step(model, image(32, 64, dtype=torch.float64))
    for output, before in kept:
        assert torch.equal(output, before)


@pytest.mark.parametrize('kind', IN_PLACE)
@pytest.mark.parametrize('name', ['layer1.0', 'layer4.0'])
def test_another_residual_keeps_what_it_returns(kind, name):
    """As a block that adds a map which it has from elsewhere."""
    block = network(kind).get_submodule(name)
    x = torch.rand(2, block.conv1.in_channels, 8, 8, dtype=torch.float64)
    kept = torch.ones_like(block(x))

    class Another(type(block)):
        def residual(self, x):
            return kept

    block.__class__ = Another
    assert (block(x) >= 0).all()
    assert (kept == 1).all()


@pytest.mark.parametrize('kind', IN_PLACE)
def test_sums_make_no_map(kind):
    class Sums(TorchDispatchMode):
        maps = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            # A shortcut's pool adds lines, which are slices.
            if func is torch.ops.aten.add.Tensor and out.dim() == 4:
                self.maps += args[0].is_contiguous()
            return out

    model = network(kind)
    for grad in (True, False):
        with Sums() as sums, torch.set_grad_enabled(grad):
            model(image(32, 64, dtype=torch.float64))
        assert not sums.maps


def test_a_sum_of_two_dtypes_has_the_wider_one():
    block = network('InPlaceABN').layer1[0]
    x = torch.rand(2, 8, 8, 8)
    with torch.autocast('cpu', torch.bfloat16):
        assert block.float()(x).dtype == torch.float32


@pytest.mark.parametrize('name', [*NEIGHBOURS, 'bn1'])
@pytest.mark.parametrize('register', ['forward', 'backward', 'global'])
def test_kinds_of_hooks(register, name):
    model, calls = network('InPlaceABN'), []
    module = model.get_submodule(name)

    def count(called, *_):
        calls.append(called)

    if register == 'global':
        handle = nn.modules.module.register_module_forward_pre_hook(count)
    elif register == 'backward':
        handle = module.register_full_backward_pre_hook(count)
    else:
        handle = module.register_forward_pre_hook(count)
    try:
        step(model, image(32, 64, dtype=torch.float64))
    finally:
        handle.remove()
    assert module in calls


def doubled(conv):
    """A module of another class in a conv's place, as adapters have it."""

    class Double(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    conv.__class__ = Double


def patched(conv):
    forward = conv.forward
    conv.forward = lambda x: 3 * forward(x)


def half_pruned(conv):
    prune.random_unstructured(conv, 'weight', 0.5)


def seeded(change):
    def changed(conv):
        torch.manual_seed(0)
        change(conv)

    return changed


CHANGES = dict(
    spectral_norm=spectral_norm,
    new_spectral_norm=parametrizations.spectral_norm,
    weight_norm=weight_norm,
    new_weight_norm=parametrizations.weight_norm,
    prune=half_pruned,
    subclass=doubled,
    patch=patched,
)


@pytest.mark.filterwarnings('ignore:.*weight_norm:FutureWarning')
@pytest.mark.parametrize('kind', IN_PLACE)
@pytest.mark.parametrize('change', CHANGES)
def test_changed_convs_train_as_with_batch_norm(change, kind):
    options = {k: v for k, v in KINDS[kind].items() if k != 'recompute_last_conv'}
    model, reference = network(kind), network('BN', **options)
    for net in (model, reference):
        for name in ('layer2.0.conv2', 'layer3.0.conv3', 'layer3.1.conv1'):
            seeded(CHANGES[change])(net.get_submodule(name))
    assert_same(model, reference)


class Counted(nn.Module):
    calls = 0

    def forward(self, weight):
        type(self).calls += 1
        return 2 * weight


@pytest.mark.parametrize('name', [*NEIGHBOURS, 'bn1'])
def test_parametrisation_is_evaluated_once(name):
    model = network('InPlaceABN')
    parametrize.register_parametrization(
        model.get_submodule(name), 'weight', Counted(), unsafe=True
    )
    Counted.calls = 0
    step(model, image(32, 64, dtype=torch.float64))
    assert Counted.calls == 1


def test_fvcore_and_others_that_hook_norms_find_them():
    """Statistics of the batch by hooks on norms, as fvcore takes them."""
    model, sizes = network('recompute'), {}
    norms = [m for m in model.modules() if isinstance(m, InPlaceABN)]
    for norm in norms:
        norm.momentum = 1.0
        norm.register_forward_pre_hook(
            lambda m, args: sizes.update({m: args[0].numel() // args[0].shape[1]})
        )
    model(image(32, 64, dtype=torch.float64))
    assert list(sizes) and set(sizes) == set(norms)
