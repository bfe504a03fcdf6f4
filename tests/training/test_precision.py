"""Mixed precision in bfloat16, on a CPU."""

import pytest
import torch
from mmdet.registry import RUNNERS
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from small_runs import box, coco, small_config, small_run, write_data
from torch import nn

from tresnet_det import Bfloat16OptimWrapper, UserError
from tresnet_det.comparison import cost
from tresnet_det.training.precision import autocast_of

# The images' 64 pixels are 2 pixels of the last map.
LEVELS = {
    'model.neck.num_outs': 3,
    'model.bbox_head.strides': [8, 16, 32],
    'model.bbox_head.regress_ranges': ((-1, 32), (32, 64), (64, 1e8)),
}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    boxes = [box(image, 8, 8, 30, 40) for image in (1, 2)]
    return write_data(tmp_path_factory.mktemp('precision') / 'data', coco(boxes))


def test_step():
    """Products are bfloat16; weights, their gradients and the step float32."""
    model = nn.Linear(3, 2, bias=False)
    before = model.weight.detach().clone()
    x = torch.tensor([[1.0, 2.0, 3.0]])
    wrapper = Bfloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.5))
    with wrapper.optim_context(model):
        out = model(x)
        assert out.dtype == torch.bfloat16
    assert model(x).dtype == torch.float32
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype == torch.float32
    # The gradient is x, which bfloat16 holds exactly.
    assert torch.equal(model.weight, before - 0.5 * x.expand(2, 3))


def test_training_and_validation(data, tmp_path):
    """Training is autocast, validation is not."""
    cfg = small_config(
        'fcos',
        data,
        tmp_path,
        **LEVELS,
        optim_wrapper=dict(type='Bfloat16OptimWrapper'),
        train_cfg=dict(max_epochs=1, val_interval=1),
    )
    runner = RUNNERS.build(cfg)
    conv = runner.model.bbox_head.conv_cls
    seen = {True: set(), False: set()}
    conv.register_forward_hook(
        lambda module, _, out: seen[module.training].add(out.dtype)
    )
    runner.train()
    assert seen == {True: {torch.bfloat16}, False: {torch.float32}}
    assert {value.dtype for value in runner.model.parameters()} == {torch.float32}
    assert 'loss_scaler' not in runner.optim_wrapper.state_dict()


def test_close_to_float32(data, tmp_path):
    """The first losses differ by bfloat16's rounding."""
    losses = []
    for kind in ('OptimWrapper', 'Bfloat16OptimWrapper'):
        runner = small_run(
            'fcos', data, tmp_path / kind, **LEVELS, optim_wrapper=dict(type=kind)
        )
        batch = next(iter(runner.train_dataloader))
        wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        with wrapper.optim_context(runner.model):
            inputs = runner.model.data_preprocessor(batch, True)
            found = runner.model(**inputs, mode='loss')
        losses.append(runner.model.parse_losses(found)[0].item())
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_narrow_map_refused():
    """Its gradient would be wrong, and often finite."""
    model = nn.Sequential(nn.Conv2d(2, 2, 3, 2, 1), nn.Conv2d(2, 2, 1, 2))
    wrapper = Bfloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.5))
    narrow, wide = torch.ones(1, 2, 4, 1), torch.ones(1, 2, 1, 2)
    with (
        pytest.raises(UserError, match=r'\(1, 2, 4, 1\) comes to Conv2d.*num_outs'),
        wrapper.optim_context(model),
    ):
        model(narrow)
    model(narrow)  # in float32
    with wrapper.optim_context(model):
        model(wide).float().sum().backward()
    assert not any(module._forward_pre_hooks for module in model)


@pytest.mark.parametrize(
    ('wrapper', 'expected'),
    [
        (dict(type='OptimWrapper'), torch.float32),
        (dict(), torch.float32),
        (dict(type='AmpOptimWrapper'), torch.bfloat16),  # torch's own on a CPU
        (dict(type='mmengine.AmpOptimWrapper', dtype='bfloat16'), torch.bfloat16),
        (dict(type=AmpOptimWrapper, dtype=torch.bfloat16), torch.bfloat16),
        (dict(type='Bfloat16OptimWrapper'), torch.bfloat16),
        (dict(type=Bfloat16OptimWrapper), torch.bfloat16),
    ],
)
def test_autocast_of(wrapper, expected):
    x = torch.ones(1, 1)
    with autocast_of(wrapper, torch.device('cpu')):
        assert (x @ x).dtype == expected


@pytest.mark.filterwarnings('ignore:.*CUDA')
@pytest.mark.parametrize(
    ('dtype', 'expected'),
    [
        ({}, torch.float16),
        (dict(dtype='float16'), torch.float16),
        (dict(dtype='bfloat16'), torch.bfloat16),
        (dict(dtype=torch.bfloat16), torch.bfloat16),
    ],
)
def test_autocast_of_a_gpu(dtype, expected):
    """What is asked for, where there is no GPU to do it."""
    wrapper = dict(type='AmpOptimWrapper', **dtype)
    assert autocast_of(wrapper, torch.device('cuda')).fast_dtype == expected


@pytest.mark.parametrize(
    ('kind', 'dtype'),
    [('OptimWrapper', torch.float32), ('Bfloat16OptimWrapper', torch.bfloat16)],
)
def test_costs_are_measured_in_it(data, tmp_path, monkeypatch, kind, dtype):
    cfg = small_config('fcos', data, tmp_path, **LEVELS, optim_wrapper=dict(type=kind))
    seen = set()

    def kept(loss, own):
        conv = loss.__self__.model.bbox_head.conv_cls
        conv.register_forward_hook(lambda module, _, out: seen.add(out.dtype))
        loss()
        return 0

    monkeypatch.setattr(cost, 'bytes_kept_by', kept)
    cost.measure_costs({'': cfg}, repeats=0)
    assert seen == {dtype}


def test_registered():
    assert OPTIM_WRAPPERS.get('Bfloat16OptimWrapper') is Bfloat16OptimWrapper
