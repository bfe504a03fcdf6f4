"""What torch's and mmengine's tools make of the norm inside a model."""

import pytest
import torch
import torch.distributed as dist
import torch.nn as nn
from mmengine.model import ExponentialMovingAverage, convert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from torch.optim.swa_utils import update_bn

from tresnet_det import InPlaceABN


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), InPlaceABN(4))


@pytest.fixture
def process_group():
    dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize('implementation', ['torch', 'mmcv'])
def test_sync_bn_option_is_refused(implementation, process_group):
    with pytest.raises(TypeError, match='SyncInPlaceABN'):
        convert_sync_batchnorm(net(), implementation)


def test_average_of_weights():
    """EMAHook's model follows gamma, beta and, if asked, the statistics."""
    model = net()
    ema = ExponentialMovingAverage(model, momentum=0.5, update_buffers=True)
    ema.update_parameters(model)  # the first call copies
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():
        model[1].weight.add_(1.0)
        model(torch.randn(2, 3, 4, 4))
    ema.update_parameters(model)
    for name, value in ema.module.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(
                value, (before[name] + model.state_dict()[name]) / 2
            )


def test_statistics_are_recalibrated():
    model, data = net(), [torch.randn(8, 3, 5, 5) + 2.0 for _ in range(3)]
    model[1].running_mean.fill_(99.0)
    update_bn(data, model)
    wanted = torch.stack([model[0](x).mean((0, 2, 3)) for x in data]).mean(0)
    torch.testing.assert_close(model[1].running_mean, wanted)


def test_weight_decay_excludes_the_norm():
    wrapper = build_optim_wrapper(
        net(),
        dict(
            optimizer=dict(type='SGD', lr=0.1, weight_decay=0.5),
            paramwise_cfg=dict(norm_decay_mult=0.0),
        ),
    )
    decays = [group['weight_decay'] for group in wrapper.optimizer.param_groups]
    assert decays == [0.5, 0.5, 0.0, 0.0]
