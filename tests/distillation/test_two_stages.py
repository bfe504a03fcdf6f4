"""What students of two stages have beside others: two heads, and proposals."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from mmdet.testing import demo_mm_inputs
from mmengine.model import MMDistributedDataParallel
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

SAME_SIZE = ((3, 64, 96),) * 2
NAMES = {
    f'loss_shared_{head}_{loss}' for head in ('rpn', 'roi') for loss in ('cls', 'box')
}


def pair(tmp_path, share_from=0, teacher=None, own=None, **fields):
    """A student with the teacher's weights, norms in eval."""
    cfg = own or detector('faster')
    described = write_teacher(tmp_path / 't.pth', teacher or cfg)
    model = build(student(cfg, described, share_from, **fields))
    model.train()
    for module in model.modules():
        if hasattr(module, 'running_var'):
            module.eval()
    return model


def test_the_box_head_by_hand(tmp_path):
    """Its classes: T^2 KL of the teacher's head on both maps, cut at the same
    places, as a mean over proposals."""
    model = pair(tmp_path, temperature=3.0)
    places, cut = [], []

    def keep(module, given, out):  # what a hook returns would replace the output
        places.append(given[1])
        cut.append(out)

    model.roi_head.bbox_roi_extractor.register_forward_hook(keep)
    found = losses(model)
    teacher = model.teacher.model
    images = model.data_preprocessor(batch(), True)['inputs']
    with torch.no_grad():
        theirs = teacher.roi_head.bbox_roi_extractor(
            teacher.extract_feat(images), places[-1]
        )
        own, told = (
            (teacher.roi_head.bbox_head(each)[0] / 3).log_softmax(-1)
            for each in (cut[-1], theirs)
        )
    wanted = 9 * F.kl_div(own, told, log_target=True, reduction='batchmean')
    assert found['loss_shared_roi_cls'].item() == pytest.approx(
        0.4 * wanted.item(), rel=1e-4
    )
    assert {*distilled(found)} == NAMES


def hard_examples(cfg):
    """The sampler runs the box head before training does."""
    cfg['train_cfg']['rcnn']['sampler'].update(type='OHEMSampler')
    return cfg


def agnostic(cfg):
    cfg['roi_head']['bbox_head'].update(reg_class_agnostic=True)
    return cfg


def deep(cfg):
    """An RPN of two convs; a box head with convs, one layer, a branch of each."""
    cfg['rpn_head'].update(num_convs=2)
    cfg['roi_head']['bbox_head'].update(
        type='ConvFCBBoxHead',
        num_shared_convs=1,
        num_cls_convs=1,
        num_reg_fcs=1,
        conv_out_channels=16,
    )
    return cfg


def pooled(cfg):
    cfg['roi_head']['bbox_head'].update(
        type='Shared4Conv1FCBBoxHead', with_avg_pool=True, conv_out_channels=16
    )
    return cfg


def with_masks(cfg):
    cfg['type'] = 'MaskRCNN'
    cfg['roi_head'].update(
        mask_roi_extractor=dict(
            cfg['roi_head']['bbox_roi_extractor'],
            roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0),
        ),
        mask_head=dict(
            type='FCNMaskHead',
            num_convs=1,
            in_channels=16,
            conv_out_channels=8,
            num_classes=3,
        ),
    )
    cfg['train_cfg']['rcnn']['mask_size'] = 14
    return cfg


@pytest.mark.parametrize(
    'change, share_from',
    [
        (hard_examples, 0),
        (agnostic, 1),
        (deep, 1),
        (deep, 2),
        (pooled, 3),
        (pooled, 5),
        (with_masks, 2),
    ],
)
def test_nothing_where_both_agree(change, share_from, tmp_path):
    model = pair(tmp_path, share_from, own=change(detector('faster')))
    model.load_state_dict(model.teacher.model.state_dict())
    data = demo_mm_inputs(
        2, [(3, 64, 96), (3, 80, 64)], num_classes=3, with_mask=model.with_mask
    )
    parts = distilled(losses(model, data))
    assert {*parts} == NAMES
    assert all(value.item() == 0 for value in parts.values()), parts
    sum(parts.values()).backward()
    assert not any(p.grad is not None and p.grad.any() for p in model.parameters())
    with torch.no_grad():
        model.neck.fpn_convs[0].conv.weight.mul_(-2)
    assert all(value.item() > 0 for value in distilled(losses(model, data)).values())


@pytest.mark.parametrize('share_from', [0, 1, 2])
def test_adapters(share_from, tmp_path):
    wide = detector('faster', width=24)
    with pytest.raises(UserError, match='adapter=True.*student 16, teacher 24'):
        losses(pair(tmp_path, share_from, wide))
    model = pair(tmp_path, share_from, wide, adapter=True)
    model.parse_losses(losses(model))[0].backward()
    assert {*model.adapters()} == {'rpn_adapter', 'roi_adapter'}
    assert all(a.weight.grad.any() for a in model.adapters().values())
    build(detector('faster')).load_state_dict(model.state_dict(), strict=True)


def test_images_without_objects(tmp_path):
    model = pair(tmp_path)
    data = demo_mm_inputs(2, [(3, 64, 96), (3, 80, 64)], num_items=[0, 0])
    found = losses(model, data)
    model.parse_losses(found)[0].backward()
    assert all(value.isfinite() for value in distilled(found).values())


def gradients(model, data):
    """Of what the teacher adds alone: the task's losses have weight 0."""
    distributed = isinstance(model, MMDistributedDataParallel)
    plain = model.module if distributed else model
    data = plain.data_preprocessor(data, True)
    found = model(**data, mode='loss')
    parts = distilled(found)
    task = {name: value for name, value in found.items() if name not in parts}
    (plain.parse_losses(parts)[0] + 0 * plain.parse_losses(task)[0]).backward()
    return {
        name: value.grad
        for name, value in plain.named_parameters()
        if value.requires_grad
    }


def unlike(tmp_path):
    """A student that finds other things than its teacher, and samples all proposals."""
    cfg = detector('faster')
    cfg['train_cfg']['rcnn']['sampler']['num'] = 1000
    model = pair(tmp_path, 1, own=cfg)
    with torch.no_grad():
        model.neck.fpn_convs[0].conv.weight.mul_(-2)
    return model


def _one_of_two(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2
    )
    folder_of_rank = folder / str(rank)
    folder_of_rank.mkdir()
    model = MMDistributedDataParallel(unlike(folder_of_rank))
    data = {name: value[rank : rank + 1] for name, value in batch(SAME_SIZE).items()}
    torch.save(gradients(model, data), folder / f'{rank}.pt')


def test_two_processes_equal_one(tmp_path):
    """Each with one of the two images, whose proposals differ in number;
    find_unused_parameters is off."""
    mp.start_processes(_one_of_two, (tmp_path,), nprocs=2, start_method='fork')
    one = gradients(unlike(tmp_path), batch(SAME_SIZE))
    for rank in range(2):
        for name, value in torch.load(tmp_path / f'{rank}.pt').items():
            torch.testing.assert_close(value, one[name], rtol=1e-4, atol=1e-7)
    assert one['backbone.conv1.weight'].any()


def cascade(cfg):
    head = cfg['roi_head'].pop('bbox_head')
    cfg['roi_head'].update(
        type='CascadeRoIHead', num_stages=1, stage_loss_weights=[1], bbox_head=[head]
    )
    cfg['train_cfg']['rcnn'] = [cfg['train_cfg']['rcnn']]
    return cfg


REFUSED = [
    (detector('faster', classes=4), 'roi_head.bbox_head, number of classes'),
    (
        detector('faster', loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True)),
        'softmax classes: student True, teacher False',
    ),
    (agnostic(detector('faster')), 'a box for each class'),
    (detector('faster', roi_feat_size=5), 'how maps are cut out'),
    (
        detector(
            'faster',
            rpn=dict(bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[0.5] * 4)),
        ),
        'rpn_head, coder of boxes',
    ),
    (
        detector(
            'faster',
            rpn=dict(loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False)),
        ),
        'rpn_head, sigmoid classes',
    ),
    (detector('retina'), 'RPNHead and Shared2FCBBoxHead, teacher: RetinaNet with Reti'),
    (cascade(detector('faster')), 'FasterRCNN with RPNHead and ModuleList'),
]


@pytest.mark.parametrize('teacher, says', REFUSED)
def test_what_does_not_fit_is_refused(teacher, says, tmp_path):
    if says == 'how maps are cut out':
        teacher['roi_head']['bbox_roi_extractor']['roi_layer']['output_size'] = 5
    with pytest.raises(UserError, match=says):
        losses(pair(tmp_path, teacher=teacher))


def test_share_from_is_for_the_deeper_head(tmp_path):
    losses(pair(tmp_path, 2))
    with pytest.raises(UserError, match='rpn_head: student 1, teacher 1.*set 0 to 2'):
        losses(pair(tmp_path, 3))
    with pytest.raises(UserError, match='temperature is 0'):
        pair(tmp_path, temperature=0)
