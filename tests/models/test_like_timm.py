"""What timm's own tests ask of each of its models, asked of ours.

Where timm's TResNet stands beside, both hold the same weights.
"""

import pytest
import torch
from timm.models.tresnet import TResNet as TimmTResNet
from torchvision.models.feature_extraction import create_feature_extractor

from tresnet_det.models.classifier import TResNetClassifier
from tresnet_det.weights.formats import to_ours

DEPTHS = (1, 1, 1, 1)


def pair(norm):
    """timm's TResNet and ours with the same random weights, in eval()."""
    torch.manual_seed(0)
    theirs = TimmTResNet(list(DEPTHS), num_classes=5, width_factor=0.25)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    ours = TResNetClassifier(
        dict(depths=DEPTHS, width=16),
        num_classes=5,
        norm_cfg=dict(type=norm),
        norm_eval=False,
    )
    ours.load_state_dict(
        {
            k if k.startswith('head') else f'backbone.{k}': v
            for k, v in to_ours(theirs.state_dict()).state.items()
        }
    )
    return theirs.eval(), ours.eval()


def image(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


WAYS = {
    'eager': lambda model, x: model,
    'script': lambda model, x: torch.jit.script(model),
    'trace': torch.jit.trace,
    'fx': lambda model, x: torch.fx.symbolic_trace(model),
    'fx and script': lambda model, x: torch.jit.script(torch.fx.symbolic_trace(model)),
}


@pytest.mark.parametrize('norm', ['BN', 'InPlaceABN'])
@pytest.mark.parametrize('way', WAYS)
def test_forward(way, norm):
    theirs, ours = pair(norm)
    made = WAYS[way](ours, image(1, 3, 64, 64))
    # timm's own wants multiples of 4.
    for size in [(1, 3, 64, 64), (2, 3, 36, 52)]:
        with torch.no_grad():
            torch.testing.assert_close(
                made(image(*size)), theirs(image(*size)), rtol=1e-3, atol=1e-4
            )


@pytest.mark.parametrize('norm', ['BN', 'InPlaceABN'])
def test_features(norm):
    theirs, ours = pair(norm)
    x = image(1, 3, 64, 96)
    nodes = {f'layer{i}': str(i) for i in (1, 2, 3, 4)}
    got = create_feature_extractor(ours.backbone, nodes)(x)
    _, wanted = theirs.forward_intermediates(x, indices=[1, 2, 3, 4])
    for name, want in zip('1234', wanted):
        torch.testing.assert_close(got[name], want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('norm', ['BN', 'InPlaceABN'])
@pytest.mark.parametrize('way', ['eager', 'fx'])
def test_backward_reaches_every_parameter(way, norm):
    _, ours = pair(norm)
    made = WAYS[way](ours.train(), None)
    made(image(2, 3, 64, 64)).mean().backward()
    assert all(p.grad is not None for p in ours.parameters())
