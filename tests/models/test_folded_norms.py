"""What folds, converts or replaces batch norms keeps a network's outputs."""

import copy
import inspect
import itertools

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from mmcv.cnn import ConvModule, fuse_conv_bn
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from mmengine.model.efficient_conv_bn_eval import efficient_conv_bn_eval_forward
from test_backbone import build, image
from timm.layers import convert_splitbn_model
from timm.layers import convert_sync_batchnorm as convert_of_timm
from torch.ao.quantization import fuse_modules
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from tresnet_det import InPlaceABN, SyncInPlaceABN
from tresnet_det.common.errors import UserError
from tresnet_det.models.abn import ACTIVATIONS

NORMS = ('BN', 'SyncBN', 'InPlaceABN', 'SyncInPlaceABN')
IN_PLACE = NORMS[2:]


def fuse_by_torch(model):
    """Each conv with the norm that torch's function would be given."""
    for parent in model.modules():
        for conv, norm in (('conv1', 'bn1'), ('conv2', 'bn2'), ('conv3', 'bn3')):
            if hasattr(parent, norm):
                fused = fuse_conv_bn_eval(getattr(parent, conv), getattr(parent, norm))
                setattr(parent, conv, fused)
                setattr(parent, norm, nn.Identity())
    return model


def convert_first(model):
    model.bn1 = nn.SyncBatchNorm.convert_sync_batchnorm(model.bn1).eval()
    return model


REPLACE = [
    fuse_conv_bn,
    fuse_by_torch,
    convert_first,
    lambda model: nn.SyncBatchNorm.convert_sync_batchnorm(model),
    lambda model: convert_sync_batchnorm(model, 'torch'),
    convert_of_timm,
    convert_splitbn_model,
    lambda model: revert_sync_batchnorm(convert_sync_batchnorm(model)),
]


@pytest.mark.parametrize('norm', NORMS)
def test_replaced_norms_of_a_backbone_keep_its_outputs(norm):
    model = build(dict(type=norm)).double().eval()
    x = image(64, 47, dtype=torch.float64)
    with torch.no_grad():
        wanted = model(x)
        for replace in REPLACE:
            twin = replace(copy.deepcopy(model)).double().eval()
            for got, want in zip(twin(x), wanted):
                torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('recompute', [True, False])
def test_partly_folded_backbone_still_trains(recompute):
    """conv3 has a bias now, which no shortcut of ours may leave out."""
    model = build(dict(type='InPlaceABN'), recompute_last_conv=recompute)
    model, x = model.double().eval(), image(64, 64, dtype=torch.float64)
    wanted = [y.detach() for y in model(x)]
    block = model.layer3[0]
    fused = fuse_conv_bn_eval(block.conv3, block.bn3)
    block.conv3, block.bn3 = fused, InPlaceABN(fused.out_channels, 1e-12).double()
    block.bn3.activation = 'identity'
    block.bn3.eval()
    fused.bias.requires_grad_()
    for got, want in zip(model(x), wanted):
        torch.testing.assert_close(got, want)
    sum(y.sum() for y in model(x)).backward()
    assert fused.bias.grad.any()


def conv_module(norm, **kwargs):
    torch.manual_seed(0)
    norm_cfg = dict(type=norm, **kwargs)
    return ConvModule(3, 4, 1, norm_cfg=norm_cfg, act_cfg=None).eval()


FOLD = [
    lambda m: fuse_conv_bn(m),
    lambda m: fuse_conv_bn_eval(m.conv, m.norm),
    lambda m: fuse_linear_bn_eval(nn.Linear(3, 4).eval(), m.norm),
    lambda m: efficient_conv_bn_eval_forward(m.norm, m.conv, image(4, 4)),
    lambda m: (m.turn_on_efficient_conv_bn_eval(), m(image(4, 4))),
    lambda m: torch.sqrt(m.norm.eps + m.norm.running_var),
]
CONVERT = [
    nn.SyncBatchNorm.convert_sync_batchnorm,
    lambda m: convert_sync_batchnorm(m, 'torch'),
    lambda m: convert_sync_batchnorm(m, 'mmcv'),
    convert_of_timm,
    convert_splitbn_model,
]


@pytest.mark.parametrize('norm', IN_PLACE)
def test_norm_with_activation_is_not_folded(norm):
    for fold in FOLD:
        with pytest.raises(UserError, match='lack the leaky ReLU'):
            fold(conv_module(norm))
    for convert in CONVERT:
        with pytest.raises(TypeError, match='SyncInPlaceABN'):
            convert(conv_module(norm))
    with pytest.raises(
        (AssertionError, NotImplementedError)
    ):  # torch's own: loud, knows no such norm
        fuse_modules(conv_module(norm), [['conv', 'bn']])


@pytest.mark.parametrize('norm', IN_PLACE)
def test_norm_without_activation_is_folded(norm):
    x = image(4, 4)
    for fold in (fuse_conv_bn, lambda m: m.turn_on_efficient_conv_bn_eval() or m):
        module = conv_module(norm, activation='identity')
        module.norm.running_mean.uniform_(-1, 1)
        wanted = module(x)
        torch.testing.assert_close(fold(module)(x), wanted)


@pytest.mark.parametrize('cls', [InPlaceABN, SyncInPlaceABN])
def test_nothing_else_is_refused(cls):
    """hasattr, inspection, tracing, quantisation: the norm stays as it is."""
    net = nn.Sequential(nn.Conv2d(3, 4, 1), cls(4), nn.Flatten(), nn.Linear(64, 2))
    net, x = net.eval(), image(4, 4)
    with torch.no_grad():
        wanted = net(x)
    assert not hasattr(net[1], 'qconfig')
    assert dict(inspect.getmembers(net[1]))['eps'] == 1e-5
    assert 'eps=1e-05' in repr(net[1])
    assert float(net[1].eps) + torch.ones(1) > 1
    norm = copy.deepcopy(net[1])
    norm.eps = norm.eps
    torch.testing.assert_close(
        norm(x.expand(-1, 3, -1, -1)[:, [0, 1, 2, 0]]).shape, (2, 4, 4, 4)
    )
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.trace(net, x)(x), wanted)
        quantised = torch.ao.quantization.quantize_dynamic(copy.deepcopy(net))
        torch.testing.assert_close(quantised(x), wanted, rtol=0.1, atol=0.1)
    twin = copy.deepcopy(net).train()
    twin.qconfig = torch.ao.quantization.get_default_qat_qconfig('fbgemm')
    prepared = torch.ao.quantization.prepare_qat(twin)
    assert type(prepared[1]) is cls and prepared(x).shape == wanted.shape


def test_eps():
    norm = InPlaceABN(2)
    norm.eps = 1e-3
    assert norm.eps == 1e-3 and copy.deepcopy(norm).eps == 1e-3
    x = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    wanted = F.leaky_relu(F.batch_norm(x, None, None, training=True, eps=1e-3))
    torch.testing.assert_close(norm(x), wanted)
    for bad in (0.0, -1e-5, float('nan')):
        for training, activation in itertools.product((True, False), ACTIVATIONS):
            norm = InPlaceABN(2, bad, activation=activation).train(training)
            with pytest.raises(ValueError, match='eps must be positive'):
                norm(x)
            with pytest.raises(ValueError, match='eps must be positive'):
                norm.forward_gated(x, torch.tanh)
        for kind in NORMS:
            with pytest.raises(ValueError, match='eps is'):
                build(dict(type=kind, eps=bad))
