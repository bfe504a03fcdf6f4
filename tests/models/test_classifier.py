"""TResNetClassifier; parity of its logits is in test_checkpoint_parity."""

import pytest
import torch
from mmengine.registry import MODELS
from official import fill

from tresnet_det import TResNet
from tresnet_det.models.classifier import TResNetClassifier
from tresnet_det.weights.pretrained import load_pretrained

TINY = dict(depths=(1, 1, 1, 1), width=8)


def test_pools_the_last_map_and_classifies_it():
    model = TResNetClassifier(TINY, num_classes=4).eval()
    images = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pooled = model.backbone(images)[0].mean(-1).mean(-1)
        expected = pooled @ model.head['fc'].weight.T + model.head['fc'].bias
        logits = model(images)
    assert logits.shape == (2, 4)
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize('norm', ['InPlaceABN', 'BN'])
def test_every_parameter_is_trained(norm):
    model = MODELS.build(
        dict(
            type='TResNetClassifier',
            arch=TINY,
            num_classes=4,
            norm_eval=False,
            norm_cfg=dict(type=norm),
        )
    ).train()
    model.load_state_dict(fill({k: v.shape for k, v in model.state_dict().items()}))
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    model(images)[:, 0].sum().backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all() for p in model.parameters()
    )
    assert model.backbone.conv1.weight.grad.abs().sum() > 0


def test_init_weights_without_a_file_keeps_the_papers_start():
    model = TResNetClassifier(TINY, num_classes=4)
    before = model.backbone.conv1.weight.clone()
    model.init_weights()
    assert torch.equal(before, model.backbone.conv1.weight)
    assert model.is_init


def test_its_own_checkpoint_loads_into_it_and_into_a_backbone(tmp_path):
    model = TResNetClassifier(TINY, num_classes=4)
    path = str(tmp_path / 'w.pth')
    torch.save(model.state_dict(), path)
    again = TResNetClassifier(
        TINY, num_classes=4, init_cfg=dict(type='Pretrained', checkpoint=path)
    )
    again.init_weights()
    assert all(
        torch.equal(value, again.state_dict()[key])
        for key, value in model.state_dict().items()
    )
    report = load_pretrained(TResNet(TINY), path)
    assert report.complete and report.dropped == {
        'head.fc.weight': 'classifier',
        'head.fc.bias': 'classifier',
    }
