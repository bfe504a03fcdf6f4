"""How often a training step waits for values on the device."""

import pytest
import torch
from reads import Reads
from test_backbone import SMALL_V2, build, image

from tresnet_det import InPlaceABN

NORMS = ('InPlaceABN', 'SyncInPlaceABN', 'BN')
OPTIONS = [{}, dict(recompute_last_conv=True), dict(with_cp=True)]


def reads(model, x, backward=True):
    with Reads() as mode:
        ys = model(x)
        if backward:
            sum(y.square().mean() for y in ys).backward()
    return mode.count


@pytest.mark.parametrize('kwargs', OPTIONS)
@pytest.mark.parametrize('norm_eval', [True, False])
@pytest.mark.parametrize('norm', NORMS)
def test_reads_of_a_step(norm, norm_eval, kwargs):
    if norm == 'BN' and 'recompute_last_conv' in kwargs:
        return
    model = build(dict(type=norm), norm_eval=norm_eval, **kwargs).train()
    x = image(32, 64)
    for zero in (False, True):
        if zero:
            with torch.no_grad():
                for module in model.modules():
                    if isinstance(module, InPlaceABN):
                        module.weight[::3] = 0
        for _ in range(2):
            assert reads(model, x) == (norm != 'BN')
        with torch.autocast('cpu', torch.bfloat16):
            assert reads(model, x) == (norm != 'BN')
        with torch.no_grad():
            assert reads(model.eval(), x, backward=False) == 0
        model.train()


@pytest.mark.parametrize('norm_eval', [True, False])
def test_reads_with_frozen_norms(norm_eval):
    """Frozen parameters are looked at once, and again once they changed."""
    model = build(dict(type='InPlaceABN', requires_grad=False), norm_eval=norm_eval)
    model, x = model.train(), image(32, 64)
    assert reads(model, x) == (not norm_eval)
    assert reads(model, x) == reads(model, x) == 0
    model.load_state_dict(model.state_dict())
    assert reads(model, x) == (not norm_eval)
    model = build(dict(type='InPlaceABN'), frozen_stages=2).train()
    assert reads(model, x) == 1
    model = build(dict(type='InPlaceABN'), frozen_stages=4).train()
    assert reads(model, x, backward=False) == 0


@pytest.mark.parametrize('frozen', [True, False])
@pytest.mark.parametrize('norm_eval', [True, False])
@pytest.mark.parametrize('kwargs', OPTIONS)
@pytest.mark.parametrize('arch', [None, SMALL_V2])
def test_exact_for_every_gamma(arch, kwargs, norm_eval, frozen):
    """Gammas that become 0, tiny or large again between two steps."""
    more = dict(norm_eval=norm_eval, **({} if arch is None else dict(arch=arch)))
    norm = dict(type='InPlaceABN', requires_grad=not frozen)
    ours = build(norm, **kwargs, **more).double().train()
    theirs = build(dict(norm, type='BN'), **more).double().train()
    x = image(32, 64, dtype=torch.float64)
    for gamma in (None, 0.0, 1e-30, 1e-5, 1.5):
        for module in ours.modules():
            if isinstance(module, InPlaceABN) and gamma is not None:
                with torch.no_grad():
                    module.weight[1::3] = gamma
        theirs.load_state_dict(ours.state_dict())
        grads = []
        for model in (ours, theirs):
            model.zero_grad()
            leaf = x.clone().requires_grad_()
            sum(y.square().mean() for y in model(leaf)).backward()
            grads.append([leaf.grad, *(p.grad for p in model.parameters())])
        for got, want in zip(*grads):
            assert (got is None) == (want is None)
            if want is not None:
                assert (got - want).norm() <= 1e-9 * want.norm()
