"""The folded copy against the model: every arch, norm and sign of gamma."""

import pytest
import torch
import torch.nn as nn
from mmcv.cnn import ConvModule
from mmdet.models.backbones import ResNet
from small_detectors import ARCH, shaken, small_detector

from tresnet_det import InPlaceABN, TResNet, UserError
from tresnet_det.deployment.folding import deployed, head_maps

BOTTLENECKS = dict(ARCH, bottleneck=(True,) * 4, slope=1e-6, stem_slope=1e-6)
SIZES = ((1, 32, 32), (2, 33, 47), (1, 64, 50), (2, 97, 41))


def check(model, sizes=SIZES, channels=3):
    folded = deployed(model)
    for count, height, width in sizes:
        draw = torch.Generator().manual_seed(height)
        images = torch.rand(count, channels, height, width, generator=draw)
        with torch.no_grad():
            pairs = list(zip(head_maps(model, images), head_maps(folded, images)))
        for right, got in pairs:
            assert right.shape == got.shape and got.is_contiguous()
            assert (right - got).abs().max() <= 2e-5 * right.abs().max()
    return folded


@pytest.mark.parametrize('norm', ['InPlaceABN', 'SyncInPlaceABN', 'BN', 'SyncBN'])
@pytest.mark.parametrize('arch', [ARCH, BOTTLENECKS], ids=['basic', 'bottlenecks'])
def test_tresnet_equals_its_folded_copy(arch, norm):
    net = shaken(TResNet(arch, norm_cfg=dict(type=norm)))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    folded = check(net)
    assert not any(
        isinstance(m, nn.modules.batchnorm._BatchNorm) for m in folded.modules()
    )
    assert not any(value.requires_grad for value in folded.parameters())
    assert all(torch.equal(value, before[k]) for k, value in net.state_dict().items())


def test_a_norm_that_reads_a_map_of_the_backbone_stays():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = shaken(TResNet(ARCH))
            self.norms = nn.ModuleList(
                shaken(nn.BatchNorm2d(channels))
                for channels in self.backbone.out_channels
            )

        def forward(self, x):
            return [norm(y) for norm, y in zip(self.norms, self.backbone(x))]

    folded = check(Normed().eval())
    assert all(isinstance(norm, nn.BatchNorm2d) for norm in folded.norms)


def test_the_copy_can_be_differentiated_to_its_input():
    net, grads = shaken(TResNet(ARCH, norm_cfg=dict(type='BN'))), []
    for model in (net, deployed(net)):
        x = torch.rand(1, 3, 33, 47, generator=torch.Generator().manual_seed(0))
        sum(y.mean() for y in model(x.requires_grad_())).backward()
        grads.append(x.grad)
    assert (grads[0] - grads[1]).abs().max() <= 1e-4 * grads[0].abs().max()


def test_maps_of_a_channels_last_net_have_the_usual_format():
    check(shaken(TResNet(ARCH, channels_last=True)))


def test_stem_is_one_conv_of_stride_4():
    folded = deployed(shaken(TResNet(ARCH, in_channels=4, out_indices=(0,))))
    assert folded.stem.conv.weight.shape == (8, 4, 12, 12)
    assert folded.stem.conv.stride == (4, 4)
    check(shaken(TResNet(ARCH, in_channels=4, out_indices=(0,))), channels=4)


def test_resnet_in_any_order_of_modules():
    folded = check(shaken(ResNet(18, base_channels=8, norm_eval=False)))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())


def test_convmodule_with_in_place_norm_keeps_the_activation():
    conv = ConvModule(
        3, 4, 3, norm_cfg=dict(type='mmdet.InPlaceABN', slope=0.2), act_cfg=None
    )
    folded = check(shaken(conv))
    assert not any(isinstance(m, InPlaceABN) for m in folded.modules())


def test_what_does_not_follow_one_conv_stays():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.first, self.second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

        def forward(self, x):
            return self.first(self.conv(x)), self.second(self.conv(x))

    folded = check(shaken(Shared()))
    assert isinstance(folded.first, nn.BatchNorm2d)


def test_a_conv_that_is_read_twice_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.conv(x)
            return x + self.norm(x)

    with pytest.raises(UserError, match='computes something else'):
        deployed(shaken(Twice()))


def test_a_bare_in_place_norm_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), InPlaceABN(4))
    with pytest.raises(UserError, match='no conv that feeds it'):
        deployed(model)


def test_norms_of_the_batch_are_refused():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)
    )
    with pytest.raises(UserError, match='without running statistics'):
        deployed(model)


def test_parametrised_convs_are_refused():
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    with pytest.raises(UserError, match='parametrised'):
        deployed(nn.Sequential(conv))


def test_no_conv_is_refused():
    with pytest.raises(UserError, match='no conv'):
        deployed(nn.Linear(3, 4))


def test_half_stays_half():
    folded = deployed(shaken(TResNet(ARCH, out_indices=(1,))).half())
    assert {value.dtype for value in folded.parameters()} == {torch.float16}


def test_detector():
    check(small_detector('fcos'), sizes=((2, 97, 41),))
