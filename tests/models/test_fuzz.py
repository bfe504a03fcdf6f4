"""Drawn cases: any image through the backbone, any file into the reader.

HYPOTHESIS_PROFILE=long draws many more; see tests/conftest.py.
"""

import math
import os
import pickle

import pytest
import torch
from drawn_files import ARCH, CASES, COMMANDS, SMALL, TRACE, Case, call, hostile, saved
from fuzz_checkpoints import check
from hypothesis import example, given
from hypothesis import strategies as st
from torch.nn.modules.batchnorm import _BatchNorm

from tresnet_det import TResNet
from tresnet_det.weights.formats import FORMATS

SMALL_ARCH = dict(depths=(1, 1, 2, 1), width=8)
SIDES = st.integers(32, 200)
BACKBONES = st.fixed_dictionaries(
    dict(
        out_indices=st.sets(st.integers(0, 3), min_size=1).map(
            lambda indices: tuple(sorted(indices))
        ),
        frozen_stages=st.integers(-1, 4),
        norm_eval=st.booleans(),
    )
)
# By how much a map may differ from batch norm's, relative to its size.
DTYPES = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 0.05}


def randomise(model, seed):
    """Gammas of both signs and 0, and statistics that are not 0 and 1."""
    draw = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            size = module.weight.shape
            module.weight.data = torch.randn(size, generator=draw)
            module.weight.data[::5] = 0
            module.bias.data = 0.1 * torch.randn(size, generator=draw)
            module.running_mean = 0.1 * torch.randn(size, generator=draw)
            module.running_var = torch.rand(size, generator=draw) + 0.5


def run(model, x, dtype):
    """Maps and gradients, or the class of the error."""
    half = dtype is torch.bfloat16
    try:
        with torch.autocast('cpu', torch.bfloat16, enabled=half):
            maps = model(x)
    except ValueError as error:
        return type(error), None
    loss = torch.stack([y.double().square().sum() for y in maps]).sum()
    parameters = dict(model.named_parameters())
    if loss.requires_grad:
        loss.backward()
    return maps, {name: p.grad for name, p in parameters.items()}


@given(
    st.integers(0, 3),
    SIDES,
    SIDES,
    st.sampled_from(list(DTYPES)),
    st.booleans(),
    st.booleans(),
    BACKBONES,
    st.integers(0, 99),
)
def test_backbone_equals_batch_norm(
    batch, height, width, dtype, training, channels_last, kwargs, seed
):
    real = torch.float64 if dtype is torch.float64 else torch.float32
    models = [
        TResNet(SMALL_ARCH, norm_cfg=dict(type=norm), **kwargs).to(real)
        for norm in ('InPlaceABN', 'BN')
    ]
    randomise(models[1], seed)
    models[1].to(real)
    models[0].load_state_dict(models[1].state_dict())
    x = torch.randn(
        batch,
        3,
        height,
        width,
        dtype=real,
        generator=torch.Generator().manual_seed(seed),
    )
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    (ours, grads), (theirs, wanted) = (
        run(model.train(training), x, dtype) for model in models
    )
    if theirs is ValueError:  # one value per channel has no variance
        assert ours is ValueError
        return
    for y, want, index in zip(ours, theirs, kwargs['out_indices']):
        assert y.shape == (
            batch,
            want.shape[1],
            *(math.ceil(side / 2 ** (index + 2)) for side in (height, width)),
        )
        torch.testing.assert_close(
            y,
            want,
            rtol=0,
            equal_nan=True,
            atol=DTYPES[dtype] * float(want.detach().abs().max() if batch else 0),
        )
    for name, grad in wanted.items():
        assert (grads[name] is None) == (grad is None), name
    if dtype is torch.float64 and batch:
        size = max(
            [float(g.norm()) for g in wanted.values() if g is not None], default=0
        )
        for name, grad in wanted.items():
            if grad is not None:
                assert (grads[name] - grad).norm() <= 1e-7 * size, name
    for (name, value), want in zip(models[0].named_buffers(), models[1].buffers()):
        torch.testing.assert_close(
            value, want, rtol=1e-4, atol=1e-4, equal_nan=True, msg=name
        )


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """An empty folder that is the working folder, too."""
    folder, before = tmp_path_factory.mktemp('fuzz'), os.getcwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


MODEL = TResNet(ARCH)
HOLDS_ITSELF: dict = {'model': SMALL}
HOLDS_ITSELF['model'] = HOLDS_ITSELF


@given(CASES, st.sampled_from(list(FORMATS)))
@example(Case('.pth', saved(HOLDS_ITSELF)), 'mm')
def test_any_file_is_read_or_refused(folder, case, to):
    check(case, folder, MODEL, to)


@pytest.mark.parametrize(
    'command',
    [COMMANDS[i] for i in (0, 3, 8)],
    ids=lambda command: f'{command[0]}.{command[1]}',
)
def test_read_carelessly_a_pickle_is_run(folder, command):
    """Else the next test could not fail."""
    trace = folder / TRACE
    pickle.loads(b'\x80\x02' + call(*command) + b'.')
    assert trace.exists()
    trace.rmdir() if trace.is_dir() else trace.unlink()


@given(hostile())
def test_no_pickle_is_run(folder, data):
    assert check(Case('.pth', data), folder, MODEL, 'mm') == 'refused'
