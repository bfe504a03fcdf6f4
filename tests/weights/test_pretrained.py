"""What load_pretrained loads, drops, reports and refuses."""

import logging

import pytest
import torch
import torchvision
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, save_checkpoint
from mmengine.utils import digit_version
from official import fill, official_shapes

from tresnet_det import TResNet
from tresnet_det.models.classifier import TResNetClassifier
from tresnet_det.weights.formats import from_ours, to_ours
from tresnet_det.weights.pretrained import CheckpointError, load_pretrained

TINY = dict(depths=(1, 2, 1, 1), width=8)


def tiny(**kwargs):
    return TResNet(TINY, **kwargs)


@pytest.fixture(scope='module')
def ours():
    shapes = {k: v.shape for k, v in tiny().state_dict().items()}
    return fill({**shapes, 'head.fc.weight': (5, 256), 'head.fc.bias': (5,)})


@pytest.fixture
def write(tmp_path):
    def write(content, name='w.pth'):
        torch.save(content, tmp_path / name)
        return str(tmp_path / name)

    return write


def equal(model, state):
    mine = model.state_dict()
    return all(torch.equal(value, state[key]) for key, value in mine.items())


@pytest.mark.parametrize('format_name', ['mm', 'timm', 'official'])
@pytest.mark.parametrize('norm', ['InPlaceABN', 'SyncInPlaceABN', 'BN', 'SyncBN'])
def test_through_init_cfg(ours, write, format_name, norm):
    state = from_ours(ours, format_name)
    model = tiny(
        norm_cfg=dict(type=norm),
        init_cfg=dict(type='Pretrained', checkpoint=write({'state_dict': state})),
    )
    model.init_weights()
    assert equal(model, to_ours(state).state)


def test_report(ours, write):
    model = tiny()
    path = write(from_ours(ours, 'timm'))
    report = load_pretrained(model, path)
    assert (report.file, report.format) == (path, 'timm')
    assert report.arch == (
        'dict(depths=(1, 2, 1, 1), width=8, bottleneck=(False, False, True, True))'
    )
    assert set(report.loaded) == model.state_dict().keys()
    assert report.dropped == {
        'head.fc.weight': 'classifier',
        'head.fc.bias': 'classifier',
    }
    assert report.complete and not report.missing
    assert f'{len(ours) - 2} tensors loaded' in str(report)
    assert '2 classifier; all fit' in str(report)


def test_one_line_is_logged(ours, write, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'tresnet_det.weights.pretrained.print_log',
        lambda line, **how: lines.append((line, how)),
    )
    report = load_pretrained(tiny(), write(ours))
    assert lines == [(str(report), {'logger': 'current'})]
    assert '\n' not in str(report)
    del lines[:]
    report = load_pretrained(
        tiny(), write({k: v for k, v in ours.items() if k != 'bn1.bias'}), strict=False
    )
    ((line, how),) = lines
    assert how['level'] == logging.WARNING
    assert 'NOT ALL WEIGHTS FIT' in line
    assert '1 missing (bn1.bias)' in line


def test_stages_that_are_not_built_are_dropped(ours, write):
    model = tiny(out_indices=(0, 1))
    report = load_pretrained(model, write(from_ours(ours, 'official')))
    assert equal(model, to_ours(from_ours(ours, 'official')).state)
    left = {
        k
        for k in from_ours(ours, 'official')
        if k.startswith(('body.layer3', 'body.layer4'))
    }
    assert {
        k
        for k, why in report.dropped.items()
        if why == 'stage that the model does not build'
    } == left


def test_counters_may_be_absent(ours, write):
    """The norm of the first official files had none."""
    state = {
        k: v
        for k, v in from_ours(ours, 'official').items()
        if not k.endswith('num_batches_tracked')
    }
    model = tiny()
    assert load_pretrained(model, write({'model': state})).complete
    assert model.bn1.num_batches_tracked == 0


@pytest.mark.parametrize(
    'change, says',
    [
        (lambda s: s.pop('layer3.0.bn2.weight'), '1 missing (layer3.0.bn2.weight)'),
        (
            lambda s: s.update({'layer3.0.extra': torch.ones(1)}),
            '1 unexpected (layer3.0.extra)',
        ),
        (
            lambda s: s.update({'layer3.1.bn1.bias': torch.ones(32)}),
            '1 unexpected (layer3.1.bn1.bias)',
        ),
        (
            lambda s: s.update({'conv1.weight': torch.ones(8, 64, 3, 3)}),
            'conv1.weight is (8, 64, 3, 3) in the file and (8, 48, 3, 3)',
        ),
    ],
)
def test_strict_refuses_and_changes_nothing(ours, write, change, says):
    state = dict(ours)
    change(state)
    model = tiny()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    path = write(state)
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(model, path)
    for text in (says, 'strict=False', path):
        assert text in str(caught.value)
    assert equal(model, before)
    report = load_pretrained(model, path, strict=False)
    assert not report.complete and len(report.loaded) >= len(before) - 1


def test_l_into_m(write):
    path = write({'model': fill(official_shapes('l'))})
    model = TResNet('m', init_cfg=dict(type='Pretrained', checkpoint=path))
    with pytest.raises(CheckpointError) as caught:
        model.init_weights()
    for text in (
        'looks like TResNet l (official format), the model is m',
        'conv1.weight is (76, 48, 3, 3) in the file and (64, 48, 3, 3)',
        'unexpected (body.layer1.3.',
        'the arch of the file (l)',
    ):
        assert text in str(caught.value)


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_resnet50_file(write, prefix):
    state = {
        prefix + k: v for k, v in torchvision.models.resnet50().state_dict().items()
    }
    with pytest.raises(
        CheckpointError,
        match=r'w\.pth: .*those of a ResNet '
        r'\(torchvision, mmdet\)',
    ):
        load_pretrained(TResNet('m'), write(state))


def retinanet(arch):
    config = Config.fromstring(
        "_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'", '.py'
    )
    config.model.backbone = dict(type='TResNet', arch=arch)
    config.model.neck.in_channels = [64, 128, 1024, 2048]
    init_default_scope('mmdet')
    return MODELS.build(config.model)


def test_detector_checkpoint_of_retinanet(tmp_path):
    """MMDetection's own checkpoint, into a backbone and into a detector."""
    detector = retinanet('m')
    detector.load_state_dict(
        {
            f'backbone.{k}': v
            for k, v in to_ours(fill(official_shapes('m'))).state.items()
            if 'head' not in k
        },
        strict=False,
    )
    path = tmp_path / 'epoch_1.pth'
    save_checkpoint(
        {'meta': {'epoch': 1}, 'state_dict': detector.state_dict()}, str(path)
    )
    model = TResNet('m', init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    model.init_weights()
    assert equal(model, detector.backbone.state_dict())

    other = retinanet('m')
    neck = other.neck.lateral_convs[0].conv.weight.clone()
    report = load_pretrained(other, str(path))
    assert equal(other.backbone, detector.backbone.state_dict())
    assert torch.equal(neck, other.neck.lateral_convs[0].conv.weight)
    assert (report.format, report.arch) == ('mm', 'm')
    assert set(report.dropped.values()) == {'outside the backbone'}
    assert set(report.dropped) == {
        k for k in detector.state_dict() if not k.startswith('backbone.')
    }


class _Trained(BaseModel):
    """Something with a backbone that mmengine's Runner can train."""

    def __init__(self):
        super().__init__()
        self.backbone = tiny(norm_eval=False)

    def forward(self, inputs, mode='tensor'):
        return {'loss': sum(m.square().mean() for m in self.backbone(inputs))}


@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.6'),
    reason="this torch's weights_only refuses mmengine's log values",
)
def test_checkpoint_with_ema_of_mmengine(tmp_path):
    """The average is loaded: mmengine swaps it into 'state_dict'."""
    images = [
        dict(inputs=torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(i)))
        for i in range(4)
    ]
    ema = EMAHook(momentum=0.5)
    runner = Runner(
        _Trained(),
        str(tmp_path),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        train_dataloader=dict(
            dataset=images,
            batch_size=2,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[ema],
        experiment_name='ema',
        log_level='ERROR',
    )
    runner.train()
    raw, average = runner.model.backbone, ema.ema_model.module.backbone
    assert not torch.equal(raw.conv1.weight, average.conv1.weight)
    model = tiny(
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'epoch_1.pth'))
    )
    model.init_weights()
    assert equal(model, average.state_dict())


def test_checkpoint_with_ema_of_timm(ours, write):
    raw = {k: v + 1 for k, v in ours.items()}
    model = tiny()
    load_pretrained(
        model,
        write(
            {
                'arch': 'tresnet',
                'state_dict': from_ours(raw, 'timm'),
                'state_dict_ema': from_ours(ours, 'timm'),
            }
        ),
    )
    assert equal(model, ours)


def test_prefix_chooses_one_of_two(ours, write):
    state = {
        f'{who}.backbone.{k}': v + (who == 'teacher')
        for who in ('student', 'teacher')
        for k, v in ours.items()
        if not k.startswith('head.')
    }
    model = tiny(
        init_cfg=dict(
            type='Pretrained',
            checkpoint=write({'state_dict': state}),
            prefix='student.backbone.',
            map_location='cpu',
        )
    )
    model.init_weights()
    assert equal(model, ours)


@pytest.mark.parametrize('official', [True, False])
def test_precision_of_the_model_decides_that_of_the_scale(write, ours, official):
    state = from_ours(ours, 'official' if official else 'timm')
    model = tiny().double()
    load_pretrained(model, write(state))
    key = f'body.conv1.{"1" if official else "bn"}.weight'
    gamma = state[key].double()
    assert torch.equal(model.bn1.weight, gamma.abs() + 1e-5 if official else gamma)


def test_classifier_of_other_class_count(ours, write):
    path = write(from_ours(ours, 'timm'))
    fits = TResNetClassifier(TINY, num_classes=5)
    assert load_pretrained(fits, path).complete
    assert torch.equal(fits.head['fc'].bias, ours['head.fc.bias'])
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(TResNetClassifier(TINY, num_classes=7), path)
    for text in (
        'head.fc.weight is (5, 256) in the file and (7, 256)',
        'another number of classes',
    ):
        assert text in str(caught.value)


def test_classifier_from_a_file_without_one(ours, write):
    bare = {k: v for k, v in ours.items() if not k.startswith('head.')}
    with pytest.raises(CheckpointError, match='2 missing .head.fc.weight'):
        load_pretrained(TResNetClassifier(TINY, num_classes=5), write(bare))


def test_model_without_a_tresnet(ours, write):
    with pytest.raises(CheckpointError, match='not those of a TResNet'):
        load_pretrained(torch.nn.Linear(2, 2), write(ours))
