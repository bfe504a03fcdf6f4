"""The maps have the memory format of the images."""

import pytest
import torch
from mmcv.ops import RoIAlign
from test_backbone import build, image

FORMATS = (torch.contiguous_format, torch.channels_last)
KINDS = [
    (dict(type='BN'), {}),
    (dict(type='InPlaceABN'), {}),
    (dict(type='SyncInPlaceABN'), {}),
    (dict(type='InPlaceABN'), dict(recompute_last_conv=True)),
    (dict(type='InPlaceABN'), dict(with_cp=True)),
    (dict(type='InPlaceABN'), dict(norm_eval=True)),
]


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize('norm, kwargs', KINDS)
def test_format_is_handed_on(norm, kwargs, dtype):
    half = dtype == torch.bfloat16
    model = build(norm, **kwargs).to(torch.float32 if half else dtype).train()
    for size in ((64, 96), (50, 47)):  # 47: padded to a multiple of 4
        x = image(*size).to(torch.float32 if half else dtype)
        for memory_format in FORMATS:
            model.zero_grad()
            leaf = x.clone(memory_format=memory_format).requires_grad_()
            with torch.autocast('cpu', torch.bfloat16, enabled=half):
                ys = model(leaf)
            sum(y.float().square().mean() for y in ys).backward()
            with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=half):
                ys += model.eval()(leaf)
            model.train()
            for y in (*ys, leaf.grad):
                assert y.is_contiguous(memory_format=memory_format)


def test_format_changes_no_value():
    model = build(dict(type='InPlaceABN')).double().eval()
    x = image(64, 64, dtype=torch.float64)
    wide = torch.cat([x, x], 3)[..., ::2]  # neither format: strides of a slice
    with torch.no_grad():
        wanted = model(wide.contiguous())
        for twin in (wide, wide.contiguous(memory_format=torch.channels_last)):
            for got, want in zip(model(twin), wanted):
                torch.testing.assert_close(got, want)
        for y in model(wide):
            y.view(2, -1)


@pytest.mark.parametrize('norm', ['BN', 'InPlaceABN'])
def test_channels_last_detector(norm):
    """An option of the backbone; what follows gets the usual format."""
    grads, sampled, within = [], [], []
    for channels_last in (False, True):
        torch.manual_seed(0)
        backbone = build(dict(type=norm), channels_last=channels_last).train()
        backbone.layer4.register_forward_hook(lambda m, x, y: within.append(y))
        head = torch.nn.Conv2d(backbone.out_channels[-1], 8, 3, padding=1)
        maps = backbone(image(64, 96))
        y = head(maps[-1])
        assert within.pop().is_contiguous(memory_format=FORMATS[channels_last])
        assert all(x.is_contiguous() for x in (*maps, y))
        boxes = torch.tensor([[0.0, 8, 8, 60, 50]])
        sampled.append(RoIAlign(7, 1 / 4)(maps[0], boxes))
        y.square().mean().backward()
        grads.append([p.grad for p in backbone.parameters()])
        for p in (*backbone.parameters(), *(p.grad for p in backbone.parameters())):
            if p.dim() == 4 and p.shape[1] > 1 and p.shape[2] > 1:
                assert p.is_contiguous(memory_format=FORMATS[channels_last])
    torch.testing.assert_close(*sampled, rtol=1e-3, atol=1e-5)
    for plain, last in zip(*grads):
        torch.testing.assert_close(last, plain, rtol=1e-3, atol=1e-5)
