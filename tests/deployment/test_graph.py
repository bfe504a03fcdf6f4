"""The graph that is exported against MMDetection's predict, in torch."""

import newer_torch  # noqa: F401
import pytest
import torch
from mmdet.structures import DetDataSample
from small_detectors import HEADS, small_detector

from tresnet_det import UserError
from tresnet_det.deployment.graphs import detector_graph
from tresnet_det.deployment.supported import check_supported

# The second image is padded on the right and below.
SIZES = torch.tensor([[97, 161], [90, 120]])


def images(count=2, height=97, width=161):
    return torch.rand(
        count, 3, height, width, generator=torch.Generator().manual_seed(1)
    )


@torch.no_grad()
def predicted(model, x, sizes):
    samples = [
        DetDataSample(metainfo=dict(img_shape=tuple(size), scale_factor=(1, 1)))
        for size in sizes.tolist()
    ]
    return [s.pred_instances for s in model.predict(x, samples, rescale=True)]


def check_same(model, x, sizes):
    with torch.no_grad():
        boxes, scores, labels = detector_graph(model)(x, sizes)[:3]
    counts = []
    for i, right in enumerate(predicted(model, x, sizes)):
        count = len(right.scores)
        assert (labels[i] >= 0).sum() == count
        torch.testing.assert_close(boxes[i, :count], right.bboxes, rtol=0, atol=1e-3)
        torch.testing.assert_close(scores[i, :count], right.scores)
        assert torch.equal(labels[i, :count], right.labels)
        assert not boxes[i, count:].any() and not scores[i, count:].any()
        assert (labels[i, count:] == -1).all()
        counts.append(count)
    return counts


@pytest.mark.parametrize('head', HEADS)
def test_detections_are_mmdetections(head):
    model = small_detector(head)
    model.test_cfg.score_thr = model.bbox_head.test_cfg.score_thr = 0.3
    assert min(check_same(model, images(), SIZES)) > 0


@pytest.mark.parametrize(
    'options',
    [
        dict(score_thr=0.999999),  # zero detections
        dict(score_thr=0.0, max_per_img=3),  # more than are wanted
        dict(nms_pre=5000, max_per_img=300),  # fewer points than nms_pre
        dict(nms_pre=3, max_per_img=100),  # more rows than candidates
        dict(nms=dict(type='nms', iou_threshold=0.9)),
        dict(nms=dict(type='nms', iou_threshold=0.3, class_agnostic=True)),
        dict(min_bbox_size=-1),
    ],
    ids=str,
)
def test_limits_are_mmdetections(options):
    model = small_detector('fcos')
    model.bbox_head.test_cfg.update(options)
    counts = check_same(model, images(), SIZES)
    assert (max(counts) == 0) == (options.get('score_thr') == 0.999999)


def test_softmax_and_retinanet():
    model = small_detector('retinanet')
    raw = detector_graph(model, raw=True)
    with torch.no_grad():
        boxes, scores = raw(images(), SIZES)[:2]
    assert boxes.shape[:2] == scores.shape[:2] and scores.shape[2] == 3
    assert (boxes[1, :, 2] <= 120).all() and (boxes[1, :, 3] <= 90).all()


def test_preprocessing_inside():
    model = small_detector('fcos')
    raw = (images() * 255).to(torch.uint8)
    mean, std = torch.tensor([0.0] * 3), torch.tensor([255.0] * 3)
    normal = (raw.flip(1).float() - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        inside = detector_graph(model, preprocess=True)(raw, SIZES)
        outside = detector_graph(model)(normal, SIZES)
    for got, right in zip(inside, outside):
        torch.testing.assert_close(got, right)


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('nms', dict(type='soft_nms', iou_threshold=0.5), 'soft_nms is not'),
        ('nms', None, "supported is dict\\(type='nms'"),
        ('nms', dict(type='nms', max_num=3), 'max_num'),
        ('nms_pre', -1, 'test_cfg.nms_pre is -1'),
        ('max_per_img', -1, 'test_cfg.max_per_img is -1'),
        ('min_bbox_size', 4, 'min_bbox_size is 4'),
    ],
)
def test_test_cfg_that_a_file_cannot_have(field, value, message):
    model = small_detector('fcos')
    model.bbox_head.test_cfg[field] = value
    with pytest.raises(UserError, match=message):
        check_supported(model)


def test_other_heads_are_named():
    model = small_detector('fcos')
    model.bbox_head = type('VFNetHead', (type(model.bbox_head),), {}).__new__(
        type('VFNetHead', (type(model.bbox_head),), {})
    )
    torch.nn.Module.__init__(model.bbox_head)
    with pytest.raises(UserError, match='VFNetHead.*FCOSHead, RetinaHead'):
        check_supported(model)


def test_deformable_convs_are_named():
    model = small_detector('fcos')
    model.neck.add_module('odd', type('DeformConv2d', (torch.nn.Identity,), {})())
    with pytest.raises(UserError, match='neck.odd is a DeformConv2d'):
        check_supported(model)
