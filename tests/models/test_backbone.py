"""TResNet: parity with the official model, its contract, its two norms."""

import copy
import io
import pickle

import pytest
import timm
import torch
import torch.nn as nn
from halves import HALVES
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.registry import MODELS
from official import fill, golden, official_shapes
from timm.models.tresnet import checkpoint_filter_fn

from tresnet_det import InPlaceABN, TResNet
from tresnet_det.models.network import BasicBlock, Bottleneck, _Norms
from tresnet_det.weights.formats import from_ours, to_ours

BN, ABN = dict(type='BN'), dict(type='InPlaceABN')
SMALL = dict(depths=(1, 1, 2, 1), width=8)
SMALL_V2 = dict(SMALL, bottleneck=(True,) * 4, slope=1e-6, stem_slope=1e-6)


def image(*size, dtype=torch.float32, batch=2):
    return torch.randn(
        batch, 3, *size, dtype=dtype, generator=torch.Generator().manual_seed(0)
    )


def randomise(model, seed=0):
    """Random norms, so that nothing is hidden by 0 and 1."""
    g = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for name in ('weight', 'running_var'):
                t = getattr(module, name).data
                t.copy_(torch.rand(t.shape, generator=g) + 0.5)
            module.weight.data[::4] *= -1
            for name in ('bias', 'running_mean'):
                t = getattr(module, name).data
                t.copy_(0.1 * torch.randn(t.shape, generator=g))
    return model


def build(norm_cfg, seed=0, **kwargs):
    torch.manual_seed(seed)
    kwargs = {'arch': SMALL, 'norm_eval': False, **kwargs}
    return randomise(TResNet(norm_cfg=norm_cfg, **kwargs))


def loss_and_grads(model, x):
    ys = model(x)
    loss = sum(y.double().square().mean() for y in ys)
    model.zero_grad()
    loss.backward()
    return loss, {n: p.grad.double() for n, p in model.named_parameters()}


def assert_same_gradients(ours, theirs, x, rtol=1e-10):
    loss, grads = loss_and_grads(ours, x)
    wanted_loss, wanted = loss_and_grads(theirs, x)
    torch.testing.assert_close(loss, wanted_loss, rtol=rtol, atol=0)
    for name, want in wanted.items():
        assert (grads[name] - want).norm() <= rtol * want.norm(), name
    for got, want in zip(ours.buffers(), theirs.buffers()):
        torch.testing.assert_close(got, want, rtol=rtol, atol=rtol)


# Parity with the official code -------------------------------------------


@pytest.fixture(scope='module')
def official_m():
    state = fill(official_shapes('m'))
    # In float64, so that |gamma| + eps is not rounded to float32.
    return to_ours(
        {k: v.double() if v.is_floating_point() else v for k, v in state.items()}
    ).state


@pytest.mark.parametrize(
    'size, norm_cfg, recompute',
    [
        ('96x160', BN, False),
        ('96x160', ABN, False),
        ('96x160', ABN, True),
        ('224x224', BN, False),
        ('224x224', ABN, False),
    ],
)
def test_golden_values(official_m, size, norm_cfg, recompute):
    values = golden(size)
    model = TResNet(
        'm', norm_cfg=norm_cfg, norm_eval=False, recompute_last_conv=recompute
    ).double()
    model.load_state_dict(
        {k: v for k, v in official_m.items() if not k.startswith('head')}
    )
    x = values['images']

    def compare(ys, wanted):
        for y, want in zip(ys, wanted):
            assert list(y.shape) == want['shape']
            flat = y.flatten()
            at = torch.tensor([int(i) for i in want['samples']])
            samples = torch.tensor(list(want['samples'].values()), dtype=torch.float64)
            scale = want['std']
            assert abs(y.mean() - want['mean']) < 1e-10 * scale
            assert abs(y.std() - want['std']) < 1e-10 * scale
            assert (flat[at] - samples).abs().max() < 1e-10 * scale

    with torch.no_grad():
        compare(model.eval()(x), values['eval'])
    ys = model.train()(x)
    loss = sum(y.square().mean() for y in ys)
    loss.backward()
    with torch.no_grad():
        compare(ys, values['train'])
    assert abs(loss.item() / values['loss'] - 1) < 1e-10

    state = model.state_dict()
    official = dict(zip(state, from_ours(state, 'official')))
    for name, parameter in model.named_parameters():
        want = values['grad_norm'][official[name]]
        assert abs(parameter.grad.norm().item() / want - 1) < 1e-10, name
    for name, buffer in model.named_buffers():
        if name.endswith('running_mean'):
            want = values['running_mean_after'][official[name]]
            assert abs(buffer.sum().item() - want) < 1e-10, name


def test_initialised_as_timm_does():
    torch.manual_seed(0)
    ours = TResNet('m').state_dict()
    torch.manual_seed(0)
    theirs = to_ours(
        checkpoint_filter_fn(timm.create_model('tresnet_m').state_dict(), None)
    ).state
    for name, value in ours.items():
        assert abs(value.float().mean() - theirs[name].float().mean()) < 0.02
        if value.numel() > 1:
            torch.testing.assert_close(
                value.float().std(), theirs[name].float().std(), rtol=0.2, atol=0.02
            )
    assert not ours['layer1.0.bn2.weight'].any()
    assert not ours['layer3.0.bn3.weight'].any()


@pytest.mark.parametrize(
    'arch, channels, params',
    [
        ('m', (64, 128, 1024, 2048), 31389032),
        ('l', (76, 152, 1216, 2432), 55989256),
        ('xl', (83, 166, 1328, 2656), 78436244),
        ('v2_l', (256, 512, 1024, 2048), 46174824),
    ],
)
def test_published_sizes(arch, channels, params):
    with torch.device('meta'):
        model = TResNet(arch)
        outs = model(torch.empty(1, 3, 64, 96))
    assert model.out_channels == channels
    assert [tuple(y.shape[1:]) for y in outs] == [
        (c, 64 // s, 96 // s) for c, s in zip(channels, (4, 8, 16, 32))
    ]
    head = channels[-1] * 1000 + 1000
    assert sum(p.numel() for p in model.parameters()) + head == params


# The in-place norm against batch norm -------------------------------------


@pytest.mark.parametrize('norm_eval', [True, False])
@pytest.mark.parametrize('recompute', [True, False])
@pytest.mark.parametrize('arch', [SMALL, SMALL_V2])
def test_gradients_equal_batch_norm(arch, recompute, norm_eval):
    ours = build(
        ABN, arch=arch, norm_eval=norm_eval, recompute_last_conv=recompute
    ).double()
    theirs = build(BN, arch=arch, norm_eval=norm_eval).double()
    theirs.load_state_dict(ours.state_dict())
    assert_same_gradients(
        ours.train(), theirs.train(), image(50, 47, dtype=torch.float64)
    )


@pytest.mark.parametrize('norm_eval', [True, False])
def test_gradients_equal_batch_norm_whole_m(norm_eval):
    ours = build(ABN, arch='m', norm_eval=norm_eval).double()
    theirs = build(BN, arch='m', norm_eval=norm_eval).double()
    theirs.load_state_dict(ours.state_dict())
    assert_same_gradients(
        ours.train(), theirs.train(), image(64, 96, dtype=torch.float64)
    )


def test_every_seventh_gamma_zero():
    """float32's distance to float64, dead channels' gammas included."""
    exact = build(BN, arch='m')
    for module in exact.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data[::7] = 0
    models = []
    for norm in (ABN, BN):
        models.append(TResNet('m', norm_cfg=norm, norm_eval=False))
        models[-1].load_state_dict(exact.state_dict())
    x = image(64, 64)
    _, wanted = loss_and_grads(exact.double(), x.double())
    errors = []
    for model in models:
        _, grads = loss_and_grads(model, x)
        assert all(g.isfinite().all() for g in grads.values())
        errors.append(
            sum((grads[n] - w).square().sum() for n, w in wanted.items()).sqrt()
        )
    assert errors[0] <= 2 * errors[1], errors


@pytest.mark.parametrize('dtype', HALVES)
@pytest.mark.parametrize('slope', [1e-3, 1e-6])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize(
    'block, lean', [(BasicBlock, False), (Bottleneck, False), (Bottleneck, True)]
)
def test_half_precision_block(block, lean, stride, slope, dtype):
    torch.manual_seed(0)
    planes = 32
    inplanes = planes * block.expansion
    blocks = [
        randomise(
            block(inplanes, planes, stride, _Norms(norm), slope, False, True, lean)
        )
        for norm in (BN, ABN)
    ]
    blocks[1].load_state_dict(blocks[0].state_dict())
    x = torch.randn(4, inplanes, 16, 16).to(dtype)

    def grads(block, x):
        x = x.clone().requires_grad_()
        with torch.autocast('cpu', dtype, enabled=x.dtype == dtype):
            y = block(x)
        out = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        got = torch.autograd.grad(y, [x, *block.parameters()], out.to(dtype).to(y))
        return torch.cat([g.double().flatten() for g in got])

    exact = grads(copy.deepcopy(blocks[0]).double(), x.double())
    theirs, ours = ((grads(b, x) - exact).norm() for b in blocks)
    assert ours <= 1.5 * theirs, (ours, theirs)


def test_state_dicts_are_interchangeable():
    ours, theirs = build(ABN), build(BN, seed=1)
    ours.load_state_dict(theirs.state_dict())
    x = image(40, 64)
    with torch.no_grad():
        for y, z in zip(ours.eval()(x), theirs.eval()(x)):
            torch.testing.assert_close(y, z)


# What a user of MMDetection expects ---------------------------------------


def test_registered():
    cfg = dict(type='TResNet', arch=SMALL)
    for registry, scope in ((MODELS, ''), (MMDET_MODELS, ''), (MMDET_MODELS, 'mmdet.')):
        built = registry.build(dict(cfg, type=f'{scope}TResNet'))
        assert type(built) is TResNet


@pytest.mark.parametrize('size', [(32, 32), (33, 47), (50, 62), (97, 35)])
def test_any_size(size):
    for model in (build(ABN), build(BN)):
        for y, stride in zip(model(image(*size)), (4, 8, 16, 32)):
            assert y.shape[2:] == tuple(-(-s // stride) for s in size)


def test_padding_is_on_the_right_and_bottom():
    model, x = build(ABN).eval(), image(45, 62)
    padded = torch.zeros(2, 3, 48, 64)
    padded[..., :45, :62] = x
    with torch.no_grad():
        for y, z in zip(model(x), model(padded)):
            assert torch.equal(y, z)


@pytest.mark.parametrize('out_indices', [(0,), (1, 2), (0, 3), [2]])
def test_stages_after_the_last_index_are_not_built(out_indices):
    model = build(ABN, out_indices=out_indices)
    ys = model(image(64, 64))
    assert tuple(y.shape[1] for y in ys) == model.out_channels
    assert not hasattr(model, f'layer{max(out_indices) + 2}')
    ys[-1].sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def is_frozen(part):
    return not any(p.requires_grad for p in part.parameters()) and not any(
        m.training for child in part for m in child.modules()
    )


@pytest.mark.parametrize('frozen', range(-1, 5))
def test_frozen_stages(frozen):
    model = build(ABN, frozen_stages=frozen)
    parts = [nn.ModuleList([model.conv1, model.bn1]), *model.stages]
    for _ in range(2):  # from the constructor on, and after train()
        assert [
            all(not p.requires_grad for p in part.parameters()) for part in parts
        ] == [i <= frozen for i in range(5)]
        model.train()
        assert [is_frozen(part) for part in parts] == [i <= frozen for i in range(5)]
    before = copy.deepcopy(model.state_dict())
    optimiser = torch.optim.SGD(model.parameters(), 0.1, weight_decay=0.1)
    if frozen < 4:
        loss_and_grads_of_trainable(model, image(64, 64))
        optimiser.step()
    frozen_keys = [
        k for i, part in enumerate(parts) if i <= frozen for k in prefixed(model, part)
    ]
    for key in frozen_keys:
        assert torch.equal(before[key], model.state_dict()[key])
    changed = {
        k for k, v in model.state_dict().items() if not torch.equal(before[k], v)
    }
    assert bool(changed) == (frozen < 4) and not changed & set(frozen_keys)


def loss_and_grads_of_trainable(model, x):
    sum(y.square().mean() for y in model(x)).backward()


def prefixed(model, part):
    tensors = {id(t) for t in (*part.parameters(), *part.buffers())}
    return [
        k
        for k, v in (*model.named_parameters(), *model.named_buffers())
        if id(v) in tensors and k in model.state_dict()
    ]


@pytest.mark.parametrize('norm', [BN, ABN])
def test_norm_eval(norm):
    model = build(norm, norm_eval=True)
    model.train()
    assert model.training and model.layer1.training
    assert not model.bn1.training and not model.layer3[0].bn3.training
    before = model.bn1.running_mean.clone()
    model(image(64, 64))
    assert torch.equal(before, model.bn1.running_mean)


@pytest.mark.parametrize('with_cp', [True, (0, 1), [2]])
@pytest.mark.parametrize('norm', [BN, ABN])
def test_with_cp_changes_nothing_but_memory(norm, with_cp):
    plain, cp = build(norm).double(), build(norm, with_cp=with_cp).double()
    stages = range(4) if with_cp is True else with_cp
    assert [stage[0].with_cp for stage in cp.stages] == [i in stages for i in range(4)]
    assert_same_gradients(cp, plain, image(64, 64, dtype=torch.float64))


def test_meta_float64_copy_pickle():
    model = build(ABN).eval()
    x = image(64, 64)
    buffer = io.BytesIO()
    pickle.dump(model, buffer)
    twins = copy.deepcopy(model), pickle.loads(buffer.getvalue())
    with torch.no_grad():
        for twin in twins:
            assert all(map(torch.equal, twin(x), model(x)))
        for y, z in zip(model.double()(x.double()), twins[0](x)):
            assert y.dtype == torch.float64
            torch.testing.assert_close(y.float(), z, rtol=1e-3, atol=1e-3)
    with torch.device('meta'):
        meta = TResNet(SMALL, norm_eval=False)
        ys = meta(torch.empty(2, 3, 64, 64))
    sum(y.sum() for y in ys).backward()
    assert all(p.grad.is_meta for p in meta.parameters())


@pytest.mark.parametrize('norm', [BN, ABN])
def test_bfloat16_autocast(norm):
    model = build(norm)
    with torch.autocast('cpu', torch.bfloat16):
        ys = model(image(64, 64))
    sum(y.float().square().mean() for y in ys).backward()
    assert all(y.dtype == torch.bfloat16 for y in ys)
    for p in model.parameters():
        assert p.grad.dtype == torch.float32 and p.grad.isfinite().all()
    assert model.bn1.running_mean.dtype == torch.float32


def test_channels_last():
    model = build(ABN).double()
    x = image(64, 48, dtype=torch.float64)
    wanted = loss_and_grads(model, x)
    got = loss_and_grads(
        model.to(memory_format=torch.channels_last),
        x.to(memory_format=torch.channels_last),
    )
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize(
    'kwargs', [{}, dict(recompute_last_conv=True), dict(with_cp=True)]
)
def test_compiles_without_graph_break(kwargs):
    model = build(ABN, **kwargs).double()
    compiled = torch.compile(copy.deepcopy(model), backend='aot_eager', fullgraph=True)
    x = image(64, 64, dtype=torch.float64)
    loss, grads = loss_and_grads(model, x)
    compiled_loss = sum(y.square().mean() for y in compiled(x))
    compiled_loss.backward()
    torch.testing.assert_close(compiled_loss, loss)
    for name, parameter in compiled._orig_mod.named_parameters():
        torch.testing.assert_close(parameter.grad, grads[name])


def test_keeps_less_than_batch_norm():
    from tresnet_det.comparison.benchmark import kept_bytes

    x = image(64, 64)
    kept = [
        kept_bytes(m, x)
        for m in (
            build(BN),
            build(ABN),
            build(ABN, recompute_last_conv=True),
            build(ABN, recompute_last_conv=True, with_cp=(0, 1)),
            build(ABN, with_cp=True),
        )
    ]
    assert kept == sorted(kept, reverse=True) and len(set(kept)) == 5
    # With running statistics no conv before a sum is kept, at no cost.
    assert kept_bytes(build(ABN, norm_eval=True).train(), x) < kept[2]


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(arch='s'), "arch is 's', expected one of"),
        (dict(arch=dict(depth=3)), 'expected a dict with the fields'),
        (dict(arch=dict(depths=(1, 1), width=8)), 'four stages'),
        (dict(arch=3), 'arch is 3'),
        (dict(in_channels=0), 'in_channels is 0'),
        (dict(out_indices=()), r'out_indices is \(\)'),
        (dict(out_indices=(1, 4)), r'out_indices is \(1, 4\)'),
        (dict(out_indices=(2, 1)), r'out_indices is \(2, 1\)'),
        (dict(out_indices=3), 'out_indices is 3'),
        (dict(frozen_stages=5), 'frozen_stages is 5'),
        (dict(with_cp=2), 'with_cp is 2'),
        (dict(with_cp=(0, 4)), r'with_cp is \(0, 4\)'),
        (dict(with_cp='all'), "with_cp is 'all'"),
        (dict(norm_cfg=dict(type='GN')), 'norm_cfg is'),
        (dict(norm_cfg='BN'), "norm_cfg is 'BN'"),
        (dict(norm_cfg=BN, recompute_last_conv=True), 'recompute_last_conv'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        TResNet(**kwargs)


@pytest.mark.parametrize(
    'shape', [(2, 3, 31, 64), (2, 3, 64, 31), (2, 4, 64, 64), (3, 64, 64)]
)
def test_bad_inputs(shape):
    with pytest.raises(ValueError, match='input has shape'):
        build(ABN)(torch.zeros(shape))


def test_norms_are_what_was_asked_for():
    assert isinstance(build(ABN).bn1, InPlaceABN)
    assert type(build(BN).bn1) is nn.BatchNorm2d
    assert isinstance(build(dict(type='SyncBN')).bn1, nn.SyncBatchNorm)
    assert build(dict(type='BN', eps=1e-3)).layer1[0].bn1.eps == 1e-3
    frozen = build(dict(type='InPlaceABN', requires_grad=False))
    assert not frozen.bn1.weight.requires_grad
