"""SH-KD: a teacher that is trained with the student's frozen head."""

import pytest
import torch
from mmdet.models import FCOS
from small_pairs import build, detector, losses, student, write_teacher
from test_classifiers import build as build_classifier
from test_classifiers import classifier, teacher_of
from test_classifiers import losses as classifier_losses

from tresnet_det import SharedHead, UserError


def shared(cfg, from_student, share_from=0):
    return dict(
        cfg,
        type='SharedHead',
        detector=cfg['type'],
        student=from_student,
        share_from=share_from,
    )


def heads(model):
    return {k: v for k, v in model.state_dict().items() if 'head' in k}


def train(model, found, steps=2):
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], 1e-2, weight_decay=0.1
    )
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()
        model.parse_losses(found(model))[0].backward()
        optimizer.step()


@pytest.mark.parametrize('kind', ['fcos', 'retina', 'faster'])
@pytest.mark.parametrize('share_from', [0, 1, 2])
def test_the_head_is_the_students_and_stays(kind, share_from, tmp_path):
    norm = {} if kind == 'faster' else dict(norm_cfg=dict(type='BN'))
    cfg = detector(kind, **norm)
    model = build(shared(cfg, write_teacher(tmp_path / 's.pth', cfg), share_from))
    assert isinstance(model, SharedHead)
    model.take_head()
    theirs = heads(build(cfg, seed=1))
    before = {k: v.clone() for k, v in heads(model).items()}
    train(model, losses)
    for name, value in heads(model).items():
        own = any(
            f'{layers}.{k}.' in name
            for layers in ('cls_convs', 'reg_convs', 'shared_fcs')
            for k in range(share_from)
        ) or (share_from > 0 and 'rpn_conv' in name)
        assert torch.equal(value, before[name]) != own or 'num_batches' in name, name
        assert own or torch.equal(value, theirs[name]), name
    build(cfg).load_state_dict(model.state_dict(), strict=True)


def test_both_steps(tmp_path):
    """The student of the second step shares the head of the first's."""
    cfg = detector('fcos')
    first = build(shared(cfg, write_teacher(tmp_path / 's.pth', cfg)))
    first.take_head()
    train(first, losses)
    torch.save(dict(state_dict=first.state_dict(), meta={}), tmp_path / 't.pth')
    described = shared(cfg, dict(config='gone.py', checkpoint='gone.pth'))
    teacher = dict(config=dict(model=described), checkpoint=str(tmp_path / 't.pth'))
    model = build(student(cfg, teacher))
    assert isinstance(model, FCOS)
    train(model, losses)
    assert isinstance(model.teacher.model, SharedHead)


def test_widths_and_names_are_compared(tmp_path):
    cfg = detector('fcos')
    wide = write_teacher(
        tmp_path / 'w.pth', detector('fcos', width=24), dataset_meta=dict(classes='abc')
    )
    with pytest.raises(UserError, match='student 24, teacher 16'):
        build(shared(cfg, wide)).take_head()
    with pytest.raises(UserError, match='another order'):
        build(shared(cfg, wide)).take_head(tuple('acb'))
    other = write_teacher(tmp_path / 'o.pth', detector('fcos', stacked_convs=3))
    model = build(shared(cfg, other))
    with pytest.raises(UserError, match='numbers of convs|same widths'):
        model.take_head()


def test_of_a_classifier(tmp_path):
    cfg = classifier()
    given = teacher_of(tmp_path / 's.pth', cfg)
    model = build_classifier(
        dict(
            cfg, type='SharedHead', detector='mmpretrain.ImageClassifier', student=given
        )
    )
    model.take_head()
    train(model, classifier_losses)
    theirs = build_classifier(cfg, seed=1).head.state_dict()
    for name, value in model.head.state_dict().items():
        assert torch.equal(value, theirs[name])
    assert not torch.equal(
        next(model.backbone.parameters()),
        next(build_classifier(cfg).backbone.parameters()),
    )
