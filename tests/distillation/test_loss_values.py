"""The values of the distillation losses, worked out by hand."""

import pytest
import torch
from small_pairs import RGB, batch, build, detector, distilled, student, write_teacher
from torchvision.ops import generalized_box_iou

import tresnet_det  # noqa: F401

WEIGHTS = dict(shared=dict(cls=0.4, box=0.75), own=dict(cls=0.3, box=0.6))
DENSE = ['fcos', 'retina', 'atss', 'gfl']


def check(losses, kind, name, cls, box):
    """Against the values before their weights."""
    for part, value in (('cls', cls), ('box', box)):
        torch.testing.assert_close(
            losses[f'loss_{kind}_{name}{part}'],
            WEIGHTS[kind][part] * value,
            rtol=1e-3,
            atol=1e-6,
        )


def giou(one, other):
    return generalized_box_iou(one, other).diagonal()


def quality(student, teacher):
    """Sum of |p - q| KL(q || p)."""
    p, q = student.sigmoid(), teacher.sigmoid()
    divergence = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
    return ((p - q).abs() * divergence).sum()


def softmax_rows(student, teacher):
    p, q = student.softmax(-1), teacher.softmax(-1)
    return (q * (q / p).log()).sum(-1)


def rows(head, level, size, maps):
    """(images, rows, columns, anchors, values) of one level, without padding."""
    height, width = size
    images, channels = len(maps), maps.shape[1] // head.num_base_priors
    cut = maps[:, :, :height, :width]
    return cut.view(images, -1, channels, height, width).permute(0, 3, 4, 1, 2)


def boxes_of(kind, head, level, values):
    """Corners in pixels, by the formulas of FCOS and of anchors."""
    images, height, width, anchors, _ = values.shape
    stride = head.prior_generator.strides[level][0]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    shift = (torch.stack([x, y, x, y], -1) * stride)[None, :, :, None].to(values)
    if kind == 'fcos':
        centre = shift + stride / 2
        return centre + values * torch.tensor([-1, -1, 1, 1])
    anchor = shift + head.prior_generator.base_anchors[level]
    low, high = anchor[..., :2], anchor[..., 2:]
    stds = torch.tensor(head.bbox_coder.stds)
    moved = values * stds
    centre = (low + high) / 2 + moved[..., :2] * (high - low)
    side = (high - low) * moved[..., 2:].exp()
    return torch.cat([centre - side / 2, centre + side / 2], -1)


def dense_by_hand(kind, head, found, told):
    """(cls, box) before their weights."""
    cls = box = count = 0.0
    for level, (a, b) in enumerate(zip(found[0], told[0])):
        size = [min(s, t) for s, t in zip(a.shape[2:], b.shape[2:])]
        own, want = (rows(head, level, size, each) for each in (a, b))
        own_box, want_box = (
            rows(head, level, size, each[1][level]) for each in (found, told)
        )
        best = want.sigmoid().amax(-1)
        cls += quality(own, want)
        count += best.sum()
        if kind == 'gfl':
            bins = (own_box.reshape(-1, 4, 5), want_box.reshape(-1, 4, 5))
            box += (softmax_rows(*bins).sum(-1) * best.flatten() / 4).sum()
            continue
        pairs = [
            boxes_of(kind, head, level, each).reshape(-1, 4)
            for each in (own_box, want_box)
        ]
        valid = (pairs[0][:, 2:] > pairs[0][:, :2]).all(-1)
        valid &= (pairs[1][:, 2:] > pairs[1][:, :2]).all(-1)
        box += ((1 - giou(*pairs)) * best.flatten())[valid].sum()
    return cls / count.clamp(min=1), box / count.clamp(min=1)


def pair(kind, tmp_path, divisor, share_from=0):
    theirs = detector(kind, dict(RGB, pad_size_divisor=divisor), norm_eval=True)
    teacher = write_teacher(tmp_path / 't.pth', theirs)
    cfg = detector(kind, norm_eval=True)
    model = build(student(cfg, teacher, share_from, **WEIGHTS)).train()
    return model, model.teacher.model


@torch.no_grad()
def maps_of(model, teacher):
    images = [each.data_preprocessor(batch())['inputs'] for each in (model, teacher)]
    return model.extract_feat(images[0]), teacher.extract_feat(images[1])


@torch.no_grad()
def losses_of(model):
    return distilled(model(**model.data_preprocessor(batch(), True), mode='loss'))


@pytest.mark.parametrize('divisor', [32, 1, 128])
@pytest.mark.parametrize('kind', DENSE)
def test_of_a_dense_head(kind, divisor, tmp_path):
    """A teacher that pads otherwise has maps of other sizes; they begin alike."""
    model, teacher = pair(kind, tmp_path, divisor)
    own_maps, maps = maps_of(model, teacher)
    assert (maps[0].shape == own_maps[0].shape) == (divisor == 32)
    with torch.no_grad():
        told = teacher.bbox_head(maps)
        found = dict(shared=teacher.bbox_head(own_maps))
        model.bbox_head.eval()  # FCOS then tells pixels
        found['own'] = model.bbox_head(own_maps)
        model.bbox_head.train()
    losses = losses_of(model)
    assert len(losses) == 4
    for name, outputs in found.items():
        cls, box = dense_by_hand(kind, model.bbox_head, outputs, told)
        check(losses, name, '', cls, box)


@pytest.mark.parametrize('kind', DENSE)
def test_of_predictors_after_the_students_own_towers(kind, tmp_path):
    model, teacher = pair(kind, tmp_path, 32, share_from=2)
    own_maps, maps = maps_of(model, teacher)
    head, theirs = model.bbox_head, teacher.bbox_head
    classes, boxes = [], []
    with torch.no_grad():
        told = theirs(maps)
        for level, x in enumerate(own_maps):
            towers = []
            for tower in (head.cls_convs, head.reg_convs):
                y = x
                for conv in tower:
                    y = conv(y)
                towers.append(y)
            names = dict(
                fcos=('conv_cls', 'conv_reg'),
                retina=('retina_cls', 'retina_reg'),
                atss=('atss_cls', 'atss_reg'),
                gfl=('gfl_cls', 'gfl_reg'),
            )[kind]
            classes.append(getattr(theirs, names[0])(towers[0]))
            box = getattr(theirs, names[1])(towers[1])
            if kind != 'retina':
                box = theirs.scales[level](box)
            if kind == 'fcos':
                box = box.clamp(min=0) * theirs.strides[level]
            boxes.append(box)
    losses = losses_of(model)
    cls, box = dense_by_hand(kind, head, (classes, boxes), told)
    check(losses, 'shared', '', cls, box)


def test_of_two_stages(tmp_path):
    """An RPN is a dense head; box heads are compared where the proposals are."""
    model, teacher = pair('faster', tmp_path, 32)
    with torch.no_grad():  # sure of classes, each of its own
        for each, factor in ((model, -20), (teacher, 20)):
            each.roi_head.bbox_head.fc_cls.weight.mul_(factor)
    own_maps, maps = maps_of(model, teacher)
    with torch.no_grad():
        told = teacher.rpn_head(maps)
        rpn = dict(shared=teacher.rpn_head(own_maps), own=model.rpn_head(own_maps))
    cut = []
    handle = model.roi_head.bbox_roi_extractor.register_forward_pre_hook(
        lambda module, given: cut.append(given[1])
    )
    losses = losses_of(model)
    handle.remove()
    for name, outputs in rpn.items():
        cls, box = dense_by_hand('retina', model.rpn_head, outputs, told)
        check(losses, name, 'rpn_', cls, box)
    rois = cut[-1]
    with torch.no_grad():
        heads = [each.roi_head for each in (model, teacher)]
        theirs = heads[1].bbox_roi_extractor(maps[:3], rois)
        ours = heads[0].bbox_roi_extractor(own_maps[:3], rois)
        wanted, wanted_boxes = heads[1].bbox_head(theirs)
        found = dict(shared=heads[1].bbox_head(ours), own=heads[0].bbox_head(ours))
    best, label = wanted.softmax(-1)[:, :-1].max(-1)
    stds = torch.tensor([0.1, 0.1, 0.2, 0.2])

    def decoded(boxes):
        moved = boxes.view(len(rois), -1, 4)[torch.arange(len(rois)), label] * stds
        low, high = rois[:, 1:3], rois[:, 3:]
        centre = (low + high) / 2 + moved[:, :2] * (high - low)
        side = (high - low) * moved[:, 2:].exp()
        return torch.cat([centre - side / 2, centre + side / 2], -1)

    for name, (classes, boxes) in found.items():
        cls = 16 * softmax_rows(classes / 4, wanted / 4).sum() / len(rois)
        overlap = giou(decoded(boxes), decoded(wanted_boxes))
        box = ((1 - overlap) * best).sum() / best.sum().clamp(min=1)
        check(losses, name, 'roi_', cls, box)
