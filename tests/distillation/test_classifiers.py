"""Classifiers of MMPretrain: the paper's formula, and embeddings."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import MODELS, DefaultScope

pytest.importorskip('mmpretrain')

from mmpretrain.models import ImageClassifier  # noqa: E402
from mmpretrain.structures import DataSample  # noqa: E402

import tresnet_det.distillation.embedding  # noqa: E402, F401  registers
from tresnet_det import HeadSharingClassifier, UserError  # noqa: E402
from tresnet_det.distillation.student import plain_model  # noqa: E402
from tresnet_det.weights.archs import ARCHS  # noqa: E402

RGB = dict(mean=[0, 0, 0], std=[255, 255, 255], to_rgb=True, num_classes=5)
MEANSTD = dict(mean=[103.5, 116.3, 123.7], std=[57.4, 57.1, 58.4], num_classes=5)


def classifier(width=8, head='LinearClsHead', preprocessor=RGB, **options):
    channels = width * 32
    return dict(
        type='ImageClassifier',
        data_preprocessor=dict(preprocessor),
        backbone=dict(
            type='TResNet',
            arch=dict(depths=(1, 1, 1, 1), width=width),
            out_indices=(3,),
            norm_eval=False,
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(dict(type=head, num_classes=5, in_channels=channels), **options),
    )


def build(cfg, seed=0):
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(deepcopy(cfg))


def teacher_of(path, cfg, **meta):
    torch.save(dict(state_dict=build(cfg, 1).state_dict(), meta=meta), path)
    return dict(
        config=dict(model=cfg, default_scope='mmpretrain'), checkpoint=str(path)
    )


def student(cfg, teacher, **fields):
    return dict(cfg, type='HeadSharingClassifier', teacher=teacher, **fields)


def batch(count=4):
    generator = torch.Generator().manual_seed(0)
    return dict(
        inputs=[
            torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=generator)
            for _ in range(count)
        ],
        data_samples=[DataSample().set_gt_label(k % 5) for k in range(count)],
    )


def losses(model):
    return model(**model.data_preprocessor(batch(), True), mode='loss')


def test_the_papers_formula(tmp_path):
    """Written out, each model on what its own preprocessor makes."""
    theirs = classifier(preprocessor=MEANSTD)
    model = build(student(classifier(), teacher_of(tmp_path / 't.pth', theirs)))
    assert isinstance(model, ImageClassifier)
    assert isinstance(model, HeadSharingClassifier)
    model.eval()
    found = losses(model)
    own, other = (
        part.data_preprocessor(batch(), False)['inputs']
        for part in (model, model.teacher.model)
    )
    z = model.neck(model.backbone(own))[-1]
    teacher = model.teacher.model
    p_t = (teacher.head.fc(teacher.neck(teacher.backbone(other))[-1]) / 4).softmax(1)

    def kl(logits):
        return 16 / 4 * F.kl_div((logits / 4).log_softmax(1), p_t, reduction='sum')

    torch.testing.assert_close(found['loss_own'], 1.5 * kl(model.head.fc(z)))
    torch.testing.assert_close(found['loss_shared'], 0.02 * kl(teacher.head.fc(z)))
    labels = torch.tensor([0, 1, 2, 3])
    torch.testing.assert_close(found['loss'], F.cross_entropy(model.head.fc(z), labels))


@pytest.mark.parametrize('head', ['LinearClsHead', 'ArcFaceClsHead'])
def test_exactly_nothing_where_both_agree(head, tmp_path):
    cfg = classifier(head=head)
    model = build(student(cfg, teacher_of(tmp_path / 't.pth', cfg), gamma=0))
    model.load_state_dict(model.teacher.model.state_dict())
    model.eval()
    found = losses(model)
    assert found['loss_own'] == found['loss_shared'] == 0
    (found['loss_own'] + found['loss_shared']).backward()
    assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)


def test_a_head_with_margin_is_shared_without(tmp_path):
    cfg = classifier(head='ArcFaceClsHead')
    theirs = classifier(head='EmbeddingArcFaceHead', margins=0.1)
    model = build(student(cfg, teacher_of(tmp_path / 't.pth', theirs)))
    model.eval()
    found = losses(model)
    data = model.data_preprocessor(batch(), False)['inputs']
    z = model.neck(model.backbone(data))[-1]
    teacher = model.teacher.model
    weight = F.normalize(teacher.head.norm_product.weight)
    told = 64 * F.normalize(teacher.neck(teacher.backbone(data))[-1]) @ weight.T
    logits = 64 * F.normalize(z) @ weight.T
    expected = (
        0.02
        * 16
        / 4
        * F.kl_div((logits / 4).log_softmax(1), (told / 4).softmax(1), reduction='sum')
    )
    torch.testing.assert_close(found['loss_shared'], expected, rtol=1e-4, atol=1e-6)


def test_plain_distillation(tmp_path):
    cfg = classifier()
    model = build(student(cfg, teacher_of(tmp_path / 't.pth', cfg), beta=0))
    model.train()
    found = losses(model)
    assert 'loss_own' in found and 'loss_shared' not in found
    model.parse_losses(found)[0].backward()


def test_widths_an_adapter_and_the_plain_state_dict(tmp_path):
    cfg = classifier()
    teacher = teacher_of(tmp_path / 't.pth', classifier(width=16))
    with pytest.raises(UserError, match='student 256, teacher 512'):
        losses(build(student(cfg, teacher)))
    losses(build(student(cfg, teacher, beta=0)))
    model = build(student(cfg, teacher, adapter=True))
    model.train()
    model.parse_losses(losses(model))[0].backward()
    assert model.adapter.weight.grad.any()
    build(cfg).load_state_dict(model.state_dict(), strict=True)


@pytest.mark.parametrize('own_head', ['teacher', 'frozen'])
def test_begins_with_the_teachers_head(own_head, tmp_path):
    cfg = classifier()
    teacher = teacher_of(tmp_path / 't.pth', cfg)
    model = build(student(cfg, teacher, own_head=own_head))
    model.init_weights()
    assert torch.equal(model.head.fc.weight, model.teacher.model.head.fc.weight)
    assert model.head.fc.weight.requires_grad == (own_head == 'teacher')
    model.parse_losses(losses(model))[0].backward()


@pytest.mark.parametrize(
    'fields, says',
    [
        (dict(own_head='both'), 'own_head'),
        (dict(alpha=-1), 'weights from 0'),
        (dict(temperature=0), 'temperature'),
    ],
)
def test_arguments_without_sense_are_refused(fields, says, tmp_path):
    cfg = classifier()
    with pytest.raises(UserError, match=says):
        build(student(cfg, teacher_of(tmp_path / 't.pth', cfg), **fields))


def test_other_heads_and_classes_are_refused(tmp_path):
    cfg = classifier()
    arc = teacher_of(tmp_path / 'a.pth', classifier(head='ArcFaceClsHead'))
    with pytest.raises(UserError, match='LinearClsHead, teacher: ArcFaceClsHead'):
        losses(build(student(cfg, arc)))
    more = teacher_of(tmp_path / 'm.pth', classifier(num_classes=6))
    with pytest.raises(UserError, match='classes: student 5, teacher 6'):
        losses(build(student(cfg, more)))


@pytest.mark.parametrize('own_head', ['random', 'frozen'])
def test_arcface_under_mixed_precision(own_head, tmp_path):
    cfg = classifier(head='EmbeddingArcFaceHead')
    teacher = teacher_of(tmp_path / 't.pth', cfg)
    model = build(student(cfg, teacher, own_head=own_head)).train()
    with torch.autocast('cpu', torch.bfloat16):
        found = losses(model)
    loss, _ = model.parse_losses(found)
    assert loss.isfinite() and 'loss_shared' in found
    loss.backward()
    # The teacher may have MMPretrain's own.
    losses(
        build(
            student(
                cfg, teacher_of(tmp_path / 'a.pth', classifier(head='ArcFaceClsHead'))
            )
        )
    )


def test_a_frozen_head_is_the_teachers_whatever_was_loaded(tmp_path):
    cfg = classifier()
    model = build(student(cfg, teacher_of(tmp_path / 't.pth', cfg), own_head='frozen'))
    model.init_weights()
    model.load_state_dict(build(cfg, 5).state_dict())  # load_from, without a hook
    losses(model)
    assert torch.equal(model.head.fc.weight, model.teacher.model.head.fc.weight)


def test_heads_of_other_shapes_are_refused(tmp_path):
    cfg = classifier(head='ArcFaceClsHead', num_subcenters=2)
    other = teacher_of(tmp_path / 't.pth', classifier(head='ArcFaceClsHead'))
    with pytest.raises(UserError, match="own_head cannot begin with the teacher's"):
        build(student(cfg, other, own_head='teacher')).init_weights()


def test_the_plain_model_of_a_student(tmp_path):
    cfg = classifier()
    plain = plain_model(student(cfg, teacher_of(tmp_path / 't.pth', cfg)))
    assert type(build(plain)) is ImageClassifier


def test_verification_of_what_a_model_predicts():
    cfg = classifier(head='EmbeddingArcFaceHead')
    model = build(cfg)
    model.eval()
    with torch.no_grad():
        samples = model.test_step(batch(8))
    evaluator = Evaluator(dict(type='VerificationMetric', fars=[0.5]))
    evaluator.process(samples)
    figures = evaluator.evaluate(8)
    assert figures['verification/genuine_pairs'] == 3
    assert 0 <= figures['verification/TAR@5e-01'] <= 1
    assert samples[0].embedding.shape == (256,)
    assert np.isfinite(samples[0].pred_score.numpy()).all()


CONFIGS = sorted(
    (Path(__file__).parents[2] / 'configs/classification/distillation').glob('*.py')
)


def _steps(cfg):
    data = cfg.train_dataloader.dataset
    return data.get('pipeline') or data.dataset.pipeline


@pytest.mark.parametrize(
    'path',
    [
        pytest.param(path, marks=[pytest.mark.long] if 'v2_l' in path.stem else [])
        for path in CONFIGS
    ],
    ids=lambda path: path.stem,
)
def test_configs_train_a_step(path):
    """All but the depth of the networks, and the images, as it is."""
    cfg = Config.fromfile(path)
    cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    # What OpenCV reads is BGR; CIFAR's arrays are RGB.
    read = any(step.type == 'LoadImageFromFile' for step in _steps(cfg))
    assert bool(cfg.data_preprocessor.get('to_rgb')) == read
    arch = ARCHS[cfg.model.backbone.arch]._replace(depths=(1, 1, 1, 1))
    cfg.model.backbone.update(arch=arch._asdict(), init_cfg=None)
    model = build(cfg.model)
    if hasattr(model, 'untrained'):
        model.untrained()
    model.train()
    loss, _ = model.parse_losses(losses(model))
    loss.backward()
    assert loss.isfinite()
    assert ('STUDENT' in path.read_text()) == any(
        not p.requires_grad for p in model.parameters()
    )
