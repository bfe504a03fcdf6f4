"""A tiny Mask R-CNN through the whole export, and what runs its file."""

import json

import cv2
import newer_torch  # noqa: F401
import numpy as np
import pytest
import torch
from exported import exported, take_graph_of
from mmdet.structures import DetDataSample
from pycocotools import mask as coco_mask
from small_detectors import ROOT, levels, rcnn_config, small_rcnn
from tensorrt_table import TENSORRT

from tresnet_det import UserError
from tresnet_det.data.demo_data import CATEGORIES, make_demo_data
from tresnet_det.deployment import export as exporting
from tresnet_det.deployment import onnx_file, verification
from tresnet_det.deployment.coco_rle import coco_rle
from tresnet_det.deployment.detector import load_detector
from tresnet_det.deployment.pictures import detect_images, draw
from tresnet_det.deployment.runtime import Detector, checked_metadata, paste_masks

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxscript')
pytest.importorskip('onnxruntime')

CHANGES = dict(
    levels(2, True),
    test_cfg=dict(rcnn=dict(score_thr=0.15)),
)
CHANGES['roi_head'] |= dict(
    bbox_head=dict(num_classes=6), mask_head=dict(num_classes=6)
)


def config_of(root):
    """Of the tiny detector on demo data, as a file."""
    cfg = rcnn_config(True)
    cfg.merge_from_dict(dict(model=CHANGES))
    data = dict(data_root=f'{root}/data/', metainfo=dict(classes=tuple(CATEGORIES)))
    scale = dict(type='Resize', scale=(80, 80), keep_ratio=True)
    load = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
    keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
    pack = dict(type='PackDetInputs', meta_keys=keys)
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'] = dict(
            batch_size=2,
            dataset=dict(
                type='CocoDataset',
                ann_file=f'annotations/instances_{split}.json',
                data_prefix=dict(img=f'{split}/'),
                pipeline=[dict(type='LoadImageFromFile'), scale, load, pack],
                test_mode=True,
                **data,
            ),
        )
    cfg.test_dataloader = cfg.val_dataloader
    path = root / 'config.py'
    cfg.dump(path)
    return path


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Detector, file, its remarks, and what the export said."""
    root = tmp_path_factory.mktemp('rcnn')
    make_demo_data(root / 'data', 2, 3, size=64)
    return exported(config_of(root), small_rcnn(True, CHANGES))


@pytest.fixture
def again(made, monkeypatch):
    """Exports that take the translated graph as it is."""
    take_graph_of(made, monkeypatch)


def test_what_was_verified_stands_in_the_file(made):
    remarks = made.remarks
    assert remarks['masks'] == dict(threshold=0.5, size=[28, 28])
    assert remarks['test_cfg']['score_thr'] == 0.15
    assert len(remarks['maps']) == 4  # scores and boxes of the RPN's two levels
    assert max(remarks['verified']['maps'].values()) < 1e-4
    val = remarks['verified']['val']
    assert val['images'] == 3 and val['detections'] > 20 and val['alike'] == 1
    for kind in ('', '_masks'):
        figures = val[f'file{kind}']
        assert figures == val[f'mmdetection{kind}'] and len(figures) == 12
    assert any('mmdetection, masks: AP ' in line for line in made.told)


def test_operators_are_of_onnx(made):
    assert {(o.domain, o.version) for o in made.model.opset_import} == {('', 18)}
    assert {node.domain for node in made.model.graph.node} == {''}
    # RoiAlign came with TensorRT 8.5, ConvTranspose stands in every table.
    kinds = {node.op_type for node in made.model.graph.node}
    assert kinds <= TENSORRT | {'RoiAlign', 'ConvTranspose'}
    shapes = {
        value.name: [
            d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim
        ]
        for value in made.model.graph.output
    }
    assert shapes['masks'] == ['batch', 20, 28, 28]
    assert list(shapes) == ['boxes', 'scores', 'labels', 'masks']


@pytest.mark.parametrize('shape', [(1, 32, 32), (3, 97, 161), (2, 320, 240)], ids=str)
def test_other_sizes_find_what_mmdetection_finds(made, shape):
    maps = verification.compare_maps(made.detector, made.model, made.remarks, [shape])
    assert max(maps.values()) < 1e-4
    raw = verification._images(*shape)
    inputs = verification._normalised(made.detector, raw)
    session = verification.open_session(made.model)
    boxes, scores, labels, masks = session.run(None, dict(images=inputs.numpy()))
    size = shape[1:]
    samples = [
        DetDataSample(
            metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
        )
        for _ in inputs
    ]
    with torch.no_grad():
        right = made.detector.model.predict(inputs, samples)
    for i, sample in enumerate(right):
        one, used = sample.pred_instances, labels[i] >= 0
        assert used.sum() == len(one.scores) > 0
        np.testing.assert_allclose(boxes[i, used], one.bboxes.numpy(), atol=0.01)
        np.testing.assert_allclose(scores[i, used], one.scores.numpy(), atol=1e-4)
        np.testing.assert_array_equal(labels[i, used], one.labels.numpy())
        pasted = paste_masks(masks[i, used], boxes[i, used], size, 0.5)
        assert (pasted == one.masks.numpy()).mean() > 0.9999
        assert not masks[i, ~used].any() and not boxes[i, ~used].any()


def test_the_runtime_pastes_draws_and_writes_masks(made, tmp_path):
    runtime = Detector(made.file, threads=1)
    images = sorted((made.root / 'data' / 'val').iterdir())
    found = runtime.batch(images, score_thr=0.1)
    assert all(one.mask.shape == (len(one), 64, 64) for one in found)
    assert any(one.mask.any() for one in found)
    some = found[0][:2]
    assert len(some) == len(some.mask) == 2
    assert runtime(images[0], score_thr=2.0).mask.shape == (0, 64, 64)
    image = cv2.imread(str(images[0]))
    boxes_alone = found[0][:]
    boxes_alone.mask = None
    pixels = draw(image, found[0]) != draw(image, boxes_alone)
    assert pixels.any()
    annotations = made.root / 'data' / 'annotations' / 'instances_val.json'
    assert not detect_images(runtime, images[0].parent, tmp_path, 0.1, 2, annotations)
    results = json.loads((tmp_path / 'detections.json').read_text())
    mask = coco_mask.decode(results[0]['segmentation'])
    assert mask.shape == (64, 64)
    assert (tmp_path / 'pictures' / images[0].name).is_file()


def test_the_page_says_that_it_draws_boxes(made):
    assert 'masks' in checked_metadata(made.file)
    page = (ROOT / 'tresnet_det/deployment/browser/page.js').read_text()
    assert 'This page draws boxes only' in page


def test_wrong_masks_get_no_file(made, again, tmp_path, monkeypatch):
    def other(masks, boxes, size, threshold):
        return paste_masks(1 - masks, boxes, size, threshold)

    monkeypatch.setattr(verification, 'paste_masks', other)
    with pytest.raises(verification.VerificationError, match='detections are the same'):
        exporting.export_onnx(made.detector, tmp_path / 'out.onnx')
    assert not list(tmp_path.iterdir())


def test_a_second_stage_that_differs_gets_no_file(made, again, tmp_path):
    weights = next(
        value
        for value in made.model.graph.initializer
        if [*value.dims]
        == [*made.detector.model.roi_head.bbox_head.fc_reg.weight.shape]
    )
    kept, weights.raw_data = weights.raw_data, bytes(len(weights.raw_data))
    try:
        with pytest.raises(verification.VerificationError, match='maps at 1x32x32'):
            exporting.export_onnx(made.detector, tmp_path / 'out.onnx')
    finally:
        weights.raw_data = kept
    assert not list(tmp_path.iterdir())


def test_annotations_without_masks_are_told(made, again, tmp_path):
    source = made.root / 'data' / 'annotations' / 'instances_val.json'
    content = json.loads(source.read_text())
    for one in content['annotations']:
        del one['segmentation']
    (source.parent / 'boxes.json').write_text(json.dumps(content))
    detector = load_detector(
        made.root / 'config.py',
        made.root / 'weights.pth',
        dict(
            val_dataloader=dict(
                dataset=dict(
                    ann_file='annotations/boxes.json',
                    pipeline=made.detector.config.val_dataloader.dataset.pipeline[:2]
                    + made.detector.config.val_dataloader.dataset.pipeline[3:],
                )
            )
        ),
    )
    told = []
    remarks = exporting.export_onnx(detector, tmp_path / 'out.onnx', tell=told.append)
    val = remarks['verified']['val']
    assert 'have no masks' in val['masks_not_compared'] and 'file_masks' not in val
    assert val['file'] == val['mmdetection']
    assert any('AP of masks not compared' in line for line in told)


def test_int8_and_its_limits(made, again, tmp_path):
    out = tmp_path / 'int8.onnx'
    remarks = exporting.export_onnx(
        made.detector, out, 'int8', num_calibration=2, tolerance=1.0
    )
    assert remarks['precision'] == 'int8' and 'masks' in remarks
    kinds = {node.op_type for node in onnx_file.load_model(out).graph.node}
    assert 'DequantizeLinear' in kinds
    with pytest.raises(UserError, match='has no raw outputs'):
        exporting.export_onnx(made.detector, out, raw=True)


def test_masks_are_encoded_as_pycocotools_does():
    draw = np.random.default_rng(0)
    for share in (0, 0.02, 0.5, 0.98, 1):
        for shape in ((1, 1), (3, 1), (40, 57), (500, 300)):
            mask = draw.random(shape) < share
            right = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            got = coco_rle(mask)
            assert got == dict(size=[*shape], counts=right['counts'].decode())


def test_masks_of_odd_boxes():
    """Without a side, at a border, larger than the image, of one pixel."""
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    boxes = np.float32(
        [
            [5, 5, 5, 9],
            [0, 0, 40, 30],
            [38.5, 28.2, 40, 30],
            [-20, -9, 60, 70],
            [7.2, 8.1, 8.1, 8.9],
            [3.3, 4.7, 31.9, 22.2],
        ]
    )
    masks = np.random.default_rng(0).random((len(boxes), 28, 28), np.float32)
    found = paste_masks(masks, boxes, (30, 40), 0.5)
    for got, mask, box in zip(found, masks, boxes):
        right = np.zeros((30, 40), bool)
        part, place = _do_paste_mask(
            torch.from_numpy(mask)[None, None], torch.from_numpy(box)[None], 30, 40
        )
        right[place] = (part >= 0.5)[0].numpy()
        np.testing.assert_array_equal(got, right)
