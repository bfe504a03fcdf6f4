"""Students of all kinds of detectors: exact where they agree with the
teacher, plain where it has no weight, and plain detectors in all else."""

from copy import deepcopy
from unittest.mock import patch

import pytest
import torch
from mmdet.models import FCOS, DetDataPreprocessor, FasterRCNN
from small_pairs import (
    CAFFE,
    KINDS,
    MEANSTD,
    RGB,
    batch,
    build,
    detector,
    distilled,
    losses,
    student,
    write_teacher,
)
from torch import nn

from tresnet_det import HeadSharing, UserError
from tresnet_det.distillation.inputs import as_prepared_by
from tresnet_det.training.losses import losses_of

BOTH = dict(own=dict(cls=0.4, box=0.75))


def norms_in_eval(model):
    model.train()
    for module in model.modules():
        if hasattr(module, 'running_var'):
            module.eval()


@pytest.mark.parametrize('share_from', [0, 1, 2])
@pytest.mark.parametrize('kind', KINDS)
def test_exactly_nothing_where_teacher_and_student_agree(kind, share_from, tmp_path):
    cfg = detector(kind)
    teacher = write_teacher(tmp_path / 't.pth', cfg)
    model = build(student(cfg, teacher, share_from, **BOTH))
    model.load_state_dict(model.teacher.model.state_dict())
    norms_in_eval(model)
    found = losses(model)
    parts = distilled(found)
    assert len(parts) == (8 if kind == 'faster' else 4)
    assert all(value.item() == 0 for value in parts.values()), parts
    sum(parts.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or not parameter.grad.any(), name
    # And something where they do not.
    with torch.no_grad():
        model.neck.fpn_convs[0].conv.weight.mul_(-2)
    assert all(value.item() > 0 for value in distilled(losses(model)).values())


@pytest.mark.parametrize('kind', KINDS)
def test_weight_0_is_plain_training(kind, tmp_path):
    cfg = detector(kind)
    teacher = write_teacher(tmp_path / 't.pth', cfg)
    none = dict(shared=dict(cls=0, box=0))
    models = [build(cfg), build(student(cfg, teacher, **none))]
    ends = []
    for model in models:
        if isinstance(model, HeadSharing):
            model.teacher.model  # noqa: B018  read, and used by nobody
        ends.append(_trained(model, 2))
    assert ends[0][0] == ends[1][0]
    for name, value in ends[0][1].items():
        assert torch.equal(value, ends[1][1][name]), name
    assert torch.equal(ends[0][2], ends[1][2])
    assert not models[1].training_hooks()


def _trained(model, steps):
    """Losses, weights and generator after AdamW steps."""
    torch.manual_seed(7)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)
    seen = []
    for step in range(steps):
        loss, logged = model.parse_losses(losses(model, batch(seed=step)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append({k: v.item() for k, v in logged.items()})
    return seen, model.state_dict(), torch.get_rng_state()


def test_reading_the_teacher_draws_nothing(tmp_path):
    cfg = detector('fcos')
    model = build(student(cfg, write_teacher(tmp_path / 't.pth', cfg)))
    torch.manual_seed(3)
    state = torch.get_rng_state()
    model.teacher.model  # noqa: B018
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('share_from', [0, 2])
def test_gradients_reach_neck_and_backbone(kind, share_from, tmp_path):
    cfg = detector(kind)
    model = build(student(cfg, write_teacher(tmp_path / 't.pth', cfg), share_from))
    model.train()
    sum(distilled(losses(model)).values()).backward()
    reached = {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    }
    assert any(name.startswith('backbone.conv1') for name in reached)
    assert any(name.startswith('neck') for name in reached)
    own = {name for name in reached if 'head' in name}
    if share_from == 0:
        assert not own
    else:
        layers = ('_convs.', 'rpn_conv.', 'shared_fcs.')
        assert own and all(any(part in name for part in layers) for name in own)
    assert all(p.grad is None for p in model.teacher.model.parameters())


@pytest.mark.parametrize('kind', ['fcos', 'faster'])
def test_the_teacher_never_changes(kind, tmp_path):
    """50 steps of AdamW with weight decay, averaged weights, train()."""
    cfg = detector(kind)
    model = build(student(cfg, write_teacher(tmp_path / 't.pth', cfg), 1))
    teacher = model.teacher.model
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    plain = build(cfg)
    assert [*model.state_dict()] == [*plain.state_dict()]
    assert [n for n, _ in model.named_parameters()] == [
        n for n, _ in plain.named_parameters()
    ]
    average = deepcopy(model)
    assert average.teacher is model.teacher
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)
    data = batch(((3, 64, 64),))
    for _ in range(50):
        model.train()
        optimizer.zero_grad()
        model.parse_losses(losses(model, data))[0].backward()
        optimizer.step()
        for kept, new in zip(average.parameters(), model.parameters()):
            kept.data.lerp_(new.data, 0.1)
    assert not any(module.training for module in teacher.modules())
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize('kind, plain_type', [('fcos', FCOS), ('faster', FasterRCNN)])
def test_the_student_is_a_plain_detector(kind, plain_type, tmp_path):
    cfg = detector(kind)
    described = student(cfg, write_teacher(tmp_path / 't.pth', cfg))
    model = build(described)
    assert isinstance(model, plain_type) and isinstance(model, HeadSharing)
    assert type(model) is type(build(described))
    _trained(model, 1)
    (tmp_path / 't.pth').unlink()
    plain = build(cfg, seed=5)
    plain.load_state_dict(model.state_dict(), strict=True)
    results = []
    for each in (model, plain):
        each.eval()
        data = each.data_preprocessor(batch(), False)
        with torch.no_grad():
            results.append(each(**data, mode='predict')[0].pred_instances)
    for key in ('bboxes', 'scores', 'labels'):
        assert torch.equal(results[0][key], results[1][key])


@pytest.mark.parametrize('share_from', [0, 2])
def test_an_adapter_is_trained_and_no_part_of_the_student(share_from, tmp_path):
    cfg, wide = detector('retina'), detector('retina', width=24)
    teacher = write_teacher(tmp_path / 't.pth', wide)
    with pytest.raises(UserError, match='(?s)student 16, teacher 24.*|adapter=True'):
        losses(build(student(cfg, teacher, share_from)))
    state = []
    for fields in ({}, dict(adapter=True)):
        model = build(student(cfg, teacher, share_from, **fields))
        state.append(torch.get_rng_state())
    assert torch.equal(*state)  # drawn apart
    model.train()
    model.parse_losses(losses(model))[0].backward()
    adapters = model.adapters()
    assert len(adapters) == (2 if share_from else 1)
    assert all(a.weight.grad.any() for a in adapters.values())
    assert {*adapters} <= {n.rpartition('.')[0] for n, _ in model.named_parameters()}
    build(cfg).load_state_dict(model.state_dict(), strict=True)
    model.load_state_dict(build(cfg).state_dict(), strict=True)


@pytest.mark.parametrize('theirs', [CAFFE, MEANSTD, {}, dict(RGB, pad_value=7)])
@pytest.mark.parametrize('own', [CAFFE, MEANSTD, {}, RGB])
@pytest.mark.parametrize('divisor', [1, 32, 48])
def test_images_as_another_preprocessor_makes_them(theirs, own, divisor):
    own = DetDataPreprocessor(**own, pad_size_divisor=32)
    theirs = DetDataPreprocessor(**theirs, pad_size_divisor=divisor)
    sizes = [(50, 70), (61, 33)]
    data = batch([(3, *size) for size in sizes])
    wanted = theirs(deepcopy(data), False)['inputs']
    found = as_prepared_by(theirs, own, own(data, False)['inputs'], sizes)
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-5


def test_the_teacher_gets_its_own_input(tmp_path):
    """Its maps are larger than the student's, which are padded less."""
    cfg = detector('fcos', RGB)
    teacher = detector('fcos', dict(CAFFE, pad_size_divisor=48))
    model = build(student(cfg, write_teacher(tmp_path / 't.pth', teacher)))
    model.train()
    images = []
    model.teacher.model.backbone.register_forward_pre_hook(
        lambda module, given: images.append(given[0])
    )
    data = batch(((3, 50, 70), (3, 61, 33)))
    assert all(v.isfinite() for v in distilled(losses(model, data)).values())
    with torch.no_grad():
        wanted = model.teacher.model.data_preprocessor(deepcopy(data), False)['inputs']
    assert images[0].shape == wanted.shape == (2, 3, 96, 96)
    assert (images[0] - wanted).abs().max() <= 1e-5


def test_who_uses_no_hook_is_told(tmp_path):
    cfg = detector('fcos')
    model = build(student(cfg, write_teacher(tmp_path / 't.pth', cfg)))
    with patch('tresnet_det.distillation.student.print_log') as log:
        losses(model), losses(model)
    (call,) = log.call_args_list
    assert 'DistillationHook' in call.args[0]


def test_the_same_input_to_the_last_bit(tmp_path):
    cfg = detector('fcos', MEANSTD)
    model = build(student(cfg, write_teacher(tmp_path / 't.pth', cfg)))
    model.train()
    images = []
    for part in (model, model.teacher.model):
        part.backbone.register_forward_pre_hook(
            lambda module, given: images.append(given[0])
        )
    losses(model)
    assert torch.equal(*images)


REFUSED = dict(
    levels=dict(strides=[8, 16], regress_ranges=((-1, 32), (32, 1e8))),
    strides=dict(strides=[8, 16, 64]),
    classes=dict(num_classes=4),
    coder=dict(bbox_coder=dict(type='DistancePointBBoxCoder', clip_border=False)),
    sigmoid=dict(loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False)),
)


@pytest.mark.parametrize('fault', REFUSED)
def test_what_does_not_fit_is_refused(fault, tmp_path):
    cfg = detector('fcos')
    teacher = detector('fcos', **REFUSED[fault])
    model = build(student(cfg, write_teacher(tmp_path / 't.pth', teacher)))
    with pytest.raises(UserError, match=f'{fault}.*student .*teacher '):
        losses(model)


@pytest.mark.parametrize(
    'kind, head, says',
    [
        (
            'retina',
            dict(
                anchor_generator=dict(
                    type='AnchorGenerator',
                    octave_base_scale=8,
                    scales_per_octave=2,
                    ratios=[0.5, 1.0],
                    strides=[8, 16, 32],
                )
            ),
            'anchors',
        ),
        ('gfl', dict(reg_max=8), 'reg_max: student 4, teacher 8'),
    ],
)
def test_other_boxes_are_refused(kind, head, says, tmp_path):
    cfg = detector(kind)
    teacher = write_teacher(tmp_path / 't.pth', detector(kind, **head))
    with pytest.raises(UserError, match=says):
        losses(build(student(cfg, teacher)))


def test_another_kind_of_head_is_refused(tmp_path):
    cfg = detector('atss')
    teacher = write_teacher(tmp_path / 't.pth', detector('gfl'))
    with pytest.raises(UserError, match='ATSSHead, teacher: GFL with GFLHead'):
        losses(build(student(cfg, teacher)))


@pytest.mark.parametrize(
    'names, says', [(('a', 'c', 'b'), 'another order'), (('a', 'b', 'd'), 'classes:')]
)
def test_other_class_names_are_refused(names, says, tmp_path):
    cfg = detector('fcos')
    teacher = write_teacher(
        tmp_path / 't.pth', cfg, dataset_meta=dict(classes=('a', 'b', 'c'))
    )
    model = build(student(cfg, teacher))
    model.check_teacher(('a', 'b', 'c'))
    with pytest.raises(UserError, match=f'(?s){says}.*student:.*teacher:'):
        model.check_teacher(names)


@pytest.mark.parametrize(
    'fields, says',
    [
        (dict(share_from=3), 'set 0 to 2'),
        (dict(share_from=-1), 'from 0'),
        (dict(shared=dict(clss=1)), 'dict of weights'),
        (dict(own=dict(cls=-1)), 'from 0'),
    ],
)
def test_arguments_without_sense_are_refused(fields, says, tmp_path):
    cfg = detector('fcos')
    with pytest.raises(UserError, match=says):
        losses(build(student(cfg, write_teacher(tmp_path / 't.pth', cfg), **fields)))


def test_no_teacher_is_an_error_with_its_name(tmp_path):
    cfg = detector('fcos')
    teacher = dict(config=dict(model=cfg), checkpoint=str(tmp_path / 'gone.pth'))
    with pytest.raises(UserError, match='gone.pth does not exist'):
        losses(build(student(cfg, teacher)))
    teacher = write_teacher(tmp_path / 't.pth', cfg)
    teacher['config'] = str(tmp_path / 'gone.py')
    with pytest.raises(UserError, match='gone.py cannot be read'):
        losses(build(student(cfg, teacher)))


def test_the_task_alone_is_reported_on_the_val_split(tmp_path):
    cfg = detector('fcos')
    model = build(student(cfg, write_teacher(tmp_path / 't.pth', cfg)))
    plain = build(cfg)
    plain.load_state_dict(model.state_dict())
    assert losses_of(model, [batch()]) == losses_of(plain, [batch()])


def test_ratios_are_logged(tmp_path):
    cfg = detector('atss')  # its losses are lists
    model = build(student(cfg, write_teacher(tmp_path / 't.pth', cfg)))
    model.train()
    loss, logged = model.parse_losses(losses(model))
    task = sum(
        v
        for k, v in logged.items()
        if k in ('loss_cls', 'loss_bbox', 'loss_centerness')
    )
    assert logged['ratio_shared_cls'] == pytest.approx(
        (logged['loss_shared_cls'] / task).item()
    )
    assert loss.item() == pytest.approx(
        (task + logged['loss_shared_cls'] + logged['loss_shared_box']).item()
    )


def test_logit_distillation_trains_the_own_head(tmp_path):
    cfg = detector('fcos')
    teacher = write_teacher(tmp_path / 't.pth', cfg)
    fields = dict(shared=dict(cls=0, box=0), own=dict(cls=1, box=1))
    model = build(student(cfg, teacher, **fields))
    model.train()
    found = distilled(losses(model))
    assert {*found} == {'loss_own_cls', 'loss_own_box'}
    sum(found.values()).backward()
    assert model.bbox_head.conv_cls.weight.grad.any()


def test_shuffled_head(tmp_path):
    """Shares other weights with the same values; its own findings stay."""
    cfg = detector('fcos')
    teacher = write_teacher(tmp_path / 't.pth', cfg)
    found = []
    for shuffle_head in (False, True, True):
        model = build(student(cfg, dict(teacher, shuffle_head=shuffle_head), 1))
        model.train()
        found.append(distilled(losses(model)))
        rest, whole = model.teacher.rest(1), model.teacher.model.bbox_head
        one, other = (m.conv_cls.weight.flatten() for m in (rest, whole))
        assert torch.equal(one, other) != shuffle_head
        assert torch.equal(one.sort()[0], other.sort()[0])
    assert found[1] == found[2]
    assert found[0] != found[1]


# mmcv's operations of two stages take float32 alone on a CPU.
@pytest.mark.parametrize('kind', KINDS[:-1])
def test_half_precision(kind, tmp_path):
    cfg = detector(kind)
    model = build(student(cfg, write_teacher(tmp_path / 't.pth', cfg), 1, **BOTH))
    model.train()
    with torch.autocast('cpu', torch.bfloat16):
        found = losses(model)
    parts = distilled(found)
    assert all(v.dtype == torch.float32 and v.isfinite() for v in parts.values())
    model.parse_losses(found)[0].backward()
    assert all(
        p.grad.dtype == torch.float32 and p.grad.isfinite().all()
        for p in model.parameters()
    )


def test_a_batch_norm_in_the_head_counts_a_batch_once(tmp_path):
    cfg = detector('retina', norm_cfg=dict(type='BN'))
    teacher = write_teacher(tmp_path / 't.pth', cfg)
    model, plain = build(student(cfg, teacher, 1)), build(cfg)
    for each in (model, plain):
        each.train()
        losses(each)
    for name, value in plain.named_buffers():
        assert torch.equal(value, model.get_buffer(name)), name
    assert isinstance(model.bbox_head.cls_convs[0].norm, nn.BatchNorm2d)
