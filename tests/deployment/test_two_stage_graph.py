"""The graphs of Faster and Mask R-CNN against MMDetection's predict, in torch."""

import newer_torch  # noqa: F401
import pytest
import torch
from mmdet.models.detectors import CascadeRCNN
from mmdet.models.roi_heads import CascadeRoIHead, SingleRoIExtractor
from mmdet.structures import DetDataSample
from small_detectors import small_detector, small_rcnn
from test_graph import SIZES, check_same, images

from tresnet_det import UserError
from tresnet_det.deployment.graphs import detector_graph
from tresnet_det.deployment.graphs.roi_features import RoIFeatures
from tresnet_det.deployment.runtime import paste_masks
from tresnet_det.deployment.supported import check_supported


@pytest.fixture(scope='module')
def faster():
    return small_rcnn()


@pytest.fixture
def limits(faster):
    """test_cfg of both stages, put back afterwards."""
    stages = dict(rpn=faster.rpn_head.test_cfg, rcnn=faster.roi_head.test_cfg)
    kept = {name: dict(cfg) for name, cfg in stages.items()}
    yield stages
    for name, cfg in stages.items():
        cfg.clear()
        cfg.update(kept[name])


@pytest.mark.parametrize(
    'changes',
    [
        dict(),
        dict(rcnn=dict(score_thr=0.999999)),  # zero detections
        dict(rcnn=dict(score_thr=0.0, max_per_img=3)),
        dict(rcnn=dict(score_thr=0.0, max_per_img=200)),  # more rows than pairs
        dict(rcnn=dict(nms=dict(type='nms', iou_threshold=0.2, class_agnostic=True))),
        dict(rpn=dict(nms_pre=5000, max_per_img=300)),  # fewer points than nms_pre
        dict(rpn=dict(nms_pre=3, max_per_img=100)),  # fewer proposals than rows
        dict(rpn=dict(nms=dict(type='nms', iou_threshold=0.3))),
        dict(rpn=dict(min_bbox_size=12)),
        dict(rpn=dict(min_bbox_size=2000)),  # no proposal at all
        dict(rpn=dict(min_bbox_size=-1)),
    ],
    ids=str,
)
def test_limits_are_mmdetections(faster, limits, changes):
    for stage, options in changes.items():
        limits[stage].update(options)
    counts = check_same(faster, images(), SIZES)
    nothing = str(changes).find('0.999999') > 0 or str(changes).find('2000') > 0
    assert (max(counts) == 0) == nothing


@pytest.mark.parametrize(
    'changes',
    [
        dict(roi_head=dict(bbox_head=dict(reg_class_agnostic=True))),
        dict(
            test_cfg=dict(rcnn=dict(score_thr=0.2)),
            rpn_head=dict(
                loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False), num_convs=2
            ),
            roi_head=dict(
                bbox_head=dict(type='Shared4Conv1FCBBoxHead', conv_out_channels=8)
            ),
        ),
        dict(
            roi_head=dict(
                bbox_roi_extractor=dict(
                    roi_layer=dict(aligned=False, sampling_ratio=2)
                ),
                bbox_head=dict(bbox_coder=dict(clip_border=False)),
            )
        ),
    ],
    ids=['class agnostic', 'softmax and convs', 'not aligned, not clipped'],
)
def test_other_heads_are_mmdetections(changes):
    assert min(check_same(small_rcnn(changes=changes), images(), SIZES)) > 0


@pytest.mark.parametrize('agnostic', [False, True])
def test_masks_are_mmdetections(agnostic):
    model = small_rcnn(
        True, dict(roi_head=dict(mask_head=dict(class_agnostic=agnostic)))
    )
    graph = detector_graph(model)
    name, _, shape = graph.outputs[-1]
    assert (name, shape) == ('masks', ['batch', 20, 28, 28])
    with torch.no_grad():
        boxes, scores, labels, masks = graph(images(), SIZES)[:4]
        # Twice as large in the original.
        samples = [
            DetDataSample(
                metainfo=dict(
                    img_shape=(h, w), ori_shape=(2 * h, 2 * w), scale_factor=(0.5, 0.5)
                )
            )
            for h, w in SIZES.tolist()
        ]
        right = [s.pred_instances for s in model.predict(images(), samples)]
    assert masks.shape[2:] == (28, 28)
    for i, one in enumerate(right):
        count = len(one.scores)
        assert count and (labels[i] >= 0).sum() == count
        assert not masks[i, count:].any()
        found = paste_masks(
            masks[i, :count].numpy(), one.bboxes.numpy(), one.masks.shape[1:], 0.5
        )
        assert one.masks.any()
        assert (found == one.masks.numpy()).mean() > 0.99999


@pytest.mark.parametrize(
    'options', [dict(), dict(aligned=False), dict(sampling_ratio=2)]
)
def test_features_come_from_the_level_of_the_size(options):
    extractor = SingleRoIExtractor(
        dict(type='RoIAlign', output_size=3, **{'sampling_ratio': 0, **options}),
        out_channels=2,
        featmap_strides=[4, 8, 16, 32],
    )
    draw = torch.Generator().manual_seed(0)
    maps = [
        torch.rand(2, 2, 512 // s, 512 // s, generator=draw) for s in (4, 8, 16, 32)
    ]
    corners = torch.rand(2, 40, 2, generator=draw) * 50
    sides = 2 ** (torch.rand(2, 40, 2, generator=draw) * 9)
    boxes = torch.cat([corners, corners + sides], 2)
    # Sides where a level begins, one float less, an image's border, nothing.
    exact = torch.tensor([112.0, 224.0, 448.0])
    exact = torch.cat([exact, torch.nextafter(exact, torch.zeros(3))])
    boxes[0, :6] = torch.stack([exact * 0, exact * 0, exact, exact], 1)
    boxes[0, 6:8] = torch.tensor([[0, 0, 896, 224], [8, 8, 8, 8.0]])
    places = torch.arange(2.0)[:, None, None].expand(2, 40, 1)
    rois = torch.cat([places, boxes], 2).reshape(-1, 5)
    torch.testing.assert_close(
        RoIFeatures(extractor)(maps, boxes), extractor(maps, rois)
    )


def as_type(module, kind):
    module.__class__ = kind


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda m: as_type(m.roi_head, CascadeRoIHead),
            'FasterRCNN whose roi_head is a CascadeRoIHead; .* FasterRCNN or MaskRCNN '
            'whose roi_head is a StandardRoIHead',
        ),
        (lambda m: as_type(m, CascadeRCNN), 'CascadeRCNN; .* FasterRCNN or MaskRCNN'),
        (
            lambda m: as_type(m.rpn_head, type('GARPNHead', (type(m.rpn_head),), {})),
            'rpn_head is a GARPNHead; .* is a RPNHead',
        ),
        (
            lambda m: as_type(
                m.roi_head.bbox_roi_extractor,
                type('GenericRoIExtractor', (SingleRoIExtractor,), {}),
            ),
            'bbox_roi_extractor is a GenericRoIExtractor; .* is a SingleRoIExtractor',
        ),
        (
            lambda m: setattr(
                m.roi_head.bbox_roi_extractor.roi_layers[0], 'pool_mode', 'max'
            ),
            "RoIAlign with pool_mode 'max'; supported is RoIAlign",
        ),
        (
            lambda m: m.roi_head.add_module('shared_head', torch.nn.Identity()),
            'shared_head is a Identity',
        ),
        (
            lambda m: m.rpn_head.test_cfg.update(nms=dict(type='soft_nms')),
            r'test_cfg.rpn.nms is .*soft_nms.*model.test_cfg.rpn.nms.type',
        ),
        (
            lambda m: m.rpn_head.test_cfg.update(max_per_img=-1),
            'test_cfg.rpn.max_per_img is -1',
        ),
        (
            lambda m: m.roi_head.test_cfg.update(max_per_img=-1),
            'test_cfg.rcnn.max_per_img is -1',
        ),
    ],
)
def test_what_is_not_supported_is_named(change, message):
    model = small_rcnn()
    change(model)
    with pytest.raises(UserError, match=message):
        check_supported(model)


def test_raw_outputs_are_refused(faster):
    with pytest.raises(UserError, match='FasterRCNN has no raw outputs'):
        detector_graph(faster, raw=True)
    assert detector_graph(small_detector('fcos'), raw=True).outputs[0][2][1] == 'points'
