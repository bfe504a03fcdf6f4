"""Teachers and students that are not quite as the examples."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from small_pairs import (
    batch,
    build,
    detector,
    distilled,
    losses,
    student,
    write_teacher,
)

from tresnet_det import UserError
from tresnet_det.deployment.supported import check_supported
from tresnet_det.distillation.hook import DistillationHook, _shown
from tresnet_det.distillation.teacher import Teacher
from tresnet_det.training.runner.checkpoint_checks import check_fit
from tresnet_det.weights.formats import CheckpointError


def shared_head(cfg, given, **fields):
    return dict(cfg, type='SharedHead', detector=cfg['type'], student=given, **fields)


def head_of(model):
    return {k: v.clone() for k, v in model.bbox_head.state_dict().items()}


def test_without_a_hook_a_frozen_head_is_the_students_at_the_first_loss(tmp_path):
    """mmengine's own runner loads load_from after init_weights."""
    cfg = detector('fcos')
    given = write_teacher(tmp_path / 's.pth', cfg)
    model = build(shared_head(cfg, given))
    model.init_weights()
    model.load_state_dict(build(cfg, seed=7).state_dict())  # load_from
    losses(model)
    theirs = head_of(build(cfg, seed=1))
    assert all(torch.equal(v, theirs[k]) for k, v in head_of(model).items())


def test_a_resumed_frozen_head_needs_no_file(tmp_path):
    cfg = detector('fcos')
    gone = dict(config=dict(model=cfg), checkpoint=str(tmp_path / 'gone.pth'))
    model = build(shared_head(cfg, gone))
    model.init_weights()
    model.checked = True  # as the hook says when its checkpoint is resumed
    losses(model)
    model = build(shared_head(cfg, gone))
    model.untrained()  # costs are measured without files
    losses(model)
    with pytest.raises(UserError, match='gone.pth does not exist'):
        losses(build(shared_head(cfg, gone)))


def test_a_hook_takes_the_head_and_compares_names(tmp_path):
    cfg = detector('fcos')
    given = write_teacher(tmp_path / 's.pth', cfg, dataset_meta=dict(classes='abc'))
    for names, iteration in (('abc', 0), ('acb', 0), ('acb', 5)):
        model = build(shared_head(cfg, given))
        data = SimpleNamespace(metainfo=dict(classes=tuple(names)))
        runner = SimpleNamespace(
            model=model, iter=iteration, train_dataloader=SimpleNamespace(dataset=data)
        )
        if (names, iteration) == ('acb', 0):
            with pytest.raises(UserError, match='another order'):
                DistillationHook().before_train(runner)
            continue
        DistillationHook().before_train(runner)
        theirs = head_of(build(cfg, seed=1))
        is_theirs = all(torch.equal(v, theirs[k]) for k, v in head_of(model).items())
        assert model.checked and is_theirs == (iteration == 0)


@pytest.mark.parametrize('part', ['cls', 'box'])
def test_an_adapter_that_no_loss_needs_is_not_waited_for(part, tmp_path):
    """Or DDP stops in the second step: a parameter got no gradient."""
    cfg, wide = detector('fcos'), detector('fcos', width=24)
    teacher = write_teacher(tmp_path / 't.pth', wide)
    model = build(
        student(cfg, teacher, share_from=2, adapter=True, shared={part: 0})
    ).train()
    found = losses(model)
    assert [*distilled(found)] == [f'loss_shared_{"box" if part == "cls" else "cls"}']
    model.parse_losses(found)[0].backward()
    lacking = [
        n for n, p in model.named_parameters() if p.requires_grad and p.grad is None
    ]
    assert not lacking


@pytest.mark.parametrize('kind', ['retina', 'faster'])
def test_a_student_with_an_adapter_is_evaluated_without_any_file(kind, tmp_path):
    cfg = detector(kind)
    given = write_teacher(tmp_path / 't.pth', cfg)
    gone = dict(given, config=str(tmp_path / 'gone.py'))
    model = build(student(cfg, gone, adapter=True))
    model.load_state_dict(build(cfg).state_dict(), strict=True)
    with torch.no_grad():
        model.eval().test_step(batch())
    with pytest.raises(UserError, match='gone.py cannot be read'):
        losses(model.train())


@pytest.mark.parametrize('kind', ['fcos', 'faster'])
def test_students_and_their_teachers_are_exported(kind, tmp_path):
    cfg = detector(kind)
    given = write_teacher(tmp_path / 't.pth', cfg)
    for described in (student(cfg, given), shared_head(cfg, given)):
        check_supported(build(described))


def test_names_of_fcos_in_mmdetections_zoo(tmp_path):
    """Its heads rename them while they load."""
    cfg = detector('fcos')
    state = {
        name.replace('conv_cls', 'fcos_cls')
        .replace('conv_reg', 'fcos_reg')
        .replace('conv_centerness', 'fcos_centerness'): value
        for name, value in build(cfg, seed=1).state_dict().items()
    }
    assert 'bbox_head.fcos_cls.weight' in state
    torch.save(dict(state_dict=state, meta={}), tmp_path / 't.pth')
    teacher = Teacher(dict(model=cfg), tmp_path / 't.pth')
    for name, value in build(cfg, seed=1).state_dict().items():
        assert torch.equal(teacher.model.state_dict()[name], value)
    check_fit(build(cfg), dict(state_dict=state), 't.pth')
    del state['bbox_head.fcos_cls.weight']
    with pytest.raises(CheckpointError, match='1 of .* missing .*conv_cls.weight'):
        check_fit(build(cfg), dict(state_dict=state), 't.pth')


@pytest.mark.parametrize('wrapped', [{}, dict(type='ConcatDataset')])
def test_class_names_of_a_config_with_several_data_sets(wrapped, tmp_path):
    cfg = detector('fcos')
    given = write_teacher(tmp_path / 't.pth', cfg)
    inner = dict(type='CocoDataset', metainfo=dict(classes=('c', 'b', 'a')))
    data = dict(wrapped, datasets=[inner, inner]) if wrapped else inner
    config = dict(model=cfg, train_dataloader=dict(dataset=data))
    assert Teacher(config, given['checkpoint']).classes == ('c', 'b', 'a')


def test_messages(tmp_path):
    cfg = detector('fcos')
    given = write_teacher(tmp_path / 't.pth', cfg)
    with pytest.raises(UserError, match="the teacher's config has no model"):
        losses(build(student(cfg, dict(given, config=cfg))))
    with pytest.raises(UserError, match="checkpoint is ''; expected is a path"):
        losses(build(student(cfg, dict(given, checkpoint=''))))
    figures = (0.12345, 3, [1.0, 2.0], torch.ones(2))
    assert [_shown(value) for value in figures] == [
        *('0.1235', '3', '[1.0, 2.0]', 'tensor([1., 1.])')
    ]


def test_as_many_identities_as_are_said(monkeypatch):
    """In the student and in the teacher's own config."""
    pytest.importorskip('mmpretrain')
    folder = Path(__file__).parents[2] / 'configs/classification/distillation'
    monkeypatch.setitem(os.environ, 'IDENTITIES', '7')
    for name in ('tresnet-m_8xb64-20e', 'tresnet-v2_l_8xb64-20e'):
        cfg = Config.fromfile(folder / f'{name}_verification.py')
        assert cfg.model.head.num_classes == 7
    cfg = Config.fromfile(folder / 'tresnet-m_8xb64-20e_th-kd_verification.py')
    assert Teacher(**cfg.model.teacher).cfg.model.head.num_classes == 7
