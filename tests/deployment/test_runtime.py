"""The runtime against MMDetection's own pipeline, and alone in a process."""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import mmcv
import numpy as np
import onnx
import pytest
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from stub_files import (
    BLOCK,
    CLASSES,
    PREPROCESS,
    set_metadata,
    turn_by_exif,
    write_stub,
)

from tresnet_det.common.errors import UserError as OurUserError
from tresnet_det.deployment.runtime import (
    Detections,
    Detector,
    UserError,
    graph_sha256,
    prepare,
    read_image,
    read_metadata,
)

RUNTIME = Path(sys.modules[Detector.__module__].__file__)


@pytest.fixture(scope='module')
def stub(tmp_path_factory):
    return write_stub(tmp_path_factory.mktemp('stub') / 'model.onnx')


@pytest.fixture(scope='module')
def detector(stub):
    return Detector(stub, threads=1)


def picture(height=90, width=140, seed=0):
    """Smooth, so that JPEG keeps most of it, with a bright field."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 90, (5, 7, 3), dtype=np.uint8)
    image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    image[height // 4 : height // 2, width // 3 : width // 2] = 255
    return image


def mmdetection_inputs(images, preprocess):
    """Input of the network and sizes in it, by MMDetection's own steps."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        pipeline = Compose(
            [
                dict(
                    type='Resize',
                    scale=tuple(preprocess['scale']),
                    keep_ratio=preprocess['keep_ratio'],
                ),
                dict(type='PackDetInputs', meta_keys=('img_shape', 'scale_factor')),
            ]
        )
    names = ('mean', 'std', 'bgr_to_rgb', 'pad_size_divisor', 'pad_value')
    preprocessor = DetDataPreprocessor(**{name: preprocess[name] for name in names})
    batch = [pipeline(dict(img=image, img_shape=image.shape[:2])) for image in images]
    data = preprocessor(pseudo_collate(batch), training=False)
    assert all(isinstance(sample, DetDataSample) for sample in data['data_samples'])
    sizes = [sample.img_shape[::-1] for sample in data['data_samples']]
    return data['inputs'].numpy(), sizes


@pytest.mark.parametrize('inside', [False, True])
@pytest.mark.parametrize(
    'changes',
    [
        dict(),
        dict(keep_ratio=False),
        dict(bgr_to_rgb=False, pad_size_divisor=1),
        dict(mean=[0, 0, 0], std=[255, 255, 255], pad_size_divisor=64, pad_value=0.4),
        dict(scale=[1333, 800]),  # makes them larger
        dict(scale=[100, 300]),
    ],
    ids=lambda changes: '-'.join(changes) or 'plain',
)
def test_inputs_equal_mmdetections(changes, inside):
    """Batches of one and of several sizes, portrait and landscape."""
    preprocess = dict(PREPROCESS, **changes, inside=inside)
    sizes = (480, 640), (97, 161), (33, 200), (160, 120)
    images = [picture(*size, seed) for seed, size in enumerate(sizes)]
    for batch in (images[:1], images[1:2], images):
        expected, expected_sizes = mmdetection_inputs(batch, preprocess)
        inputs, sizes = prepare(batch, preprocess)
        assert sizes == expected_sizes
        assert inputs.shape == expected.shape
        if not inside:
            assert inputs.dtype == np.float32
            np.testing.assert_array_equal(inputs, expected)
            continue
        # What the file does first, and the padding to half a grey level.
        assert inputs.dtype == np.uint8
        mean, std = (
            np.reshape(preprocess[name], (3, 1, 1)) for name in ('mean', 'std')
        )
        rgb = inputs[:, ::-1] if preprocess['bgr_to_rgb'] else inputs
        assert np.abs(rgb - (expected * std + mean)).max() <= 0.501


def test_finds_what_is_there_in_every_image_of_a_batch(detector):
    images = [picture(90, 140), picture(240, 320), picture(160, 100), picture(30, 40)]
    for found, image in zip(detector.batch(images), images):
        height, width = image.shape[:2]
        field = [width // 3, height // 4, width // 2, height // 2]
        # To the pixels that the resized image has.
        assert np.abs(found.xyxy[0] - field).max() <= 2 * max(1, width / 160)
        assert found.xyxy[-1].tolist() == [0, 0, width, height]  # clipped, scaled
        assert found.class_id.tolist() == [0, 1, 2]
        assert found.data['class_name'].tolist() == list(CLASSES)


def test_shapes_are_those_that_supervision_takes(detector):
    image = picture()
    for found in (detector(image), detector(image, score_thr=2)):
        n = len(found)
        assert found.xyxy.shape == (n, 4) and found.xyxy.dtype == np.float32
        assert found.confidence.shape == (n,) and found.confidence.dtype == np.float32
        assert found.class_id.shape == (n,) and found.class_id.dtype.kind == 'i'
        assert found.data['class_name'].shape == (n,)
        assert found.data['class_name'].dtype.kind == 'U'
        names = ['xyxy', 'confidence', 'class_id', 'data', 'mask']
        assert list(vars(found)) == names and found.mask is None
    supervision = pytest.importorskip('supervision', reason='supervision is absent')
    theirs = supervision.Detections(**vars(detector(image)))
    assert len(theirs) == 3 and theirs['class_name'][1] == CLASSES[1]


def test_threshold_and_rows(detector):
    found = detector(picture())
    threshold = np.median(found.confidence)
    above = detector(picture(), score_thr=threshold)
    assert len(above) == 2 < len(found) == 3
    rows = found[found.confidence >= threshold]
    assert isinstance(rows, Detections)
    for name in ('xyxy', 'confidence', 'class_id'):
        np.testing.assert_array_equal(vars(rows)[name], vars(above)[name])
    assert rows.data['class_name'].tolist() == above.data['class_name'].tolist()
    assert detector.batch([]) == []


def test_boxes_in_the_padding_go_as_in_mmdetection(tmp_path):
    """The first box lies right of a dark image beside a brighter, wider one."""
    images = [np.zeros((100, 60, 3), np.uint8), picture(100, 150)]
    pad_value = 3.0  # brighter than everything
    kept = {}
    for smallest in (-1, 0):
        path = write_stub(
            tmp_path / f'{smallest}.onnx',
            dict(pad_value=pad_value),
            test_cfg=dict(min_bbox_size=smallest),
        )
        kept[smallest] = Detector(path).batch(images)[0]
    assert (kept[-1].xyxy[0] == [60, 0, 60, 100]).all()  # no width
    assert len(kept[0]) == len(kept[-1]) - 1
    assert kept[0].class_id.tolist() == [1, 2]


def test_sizes_without_padding_are_given_to_files_that_take_them(tmp_path):
    """The stub's third score tells."""
    images = [picture(90, 140), picture(240, 320)]
    for sizes, score in ((False, 0.25), (True, 0.125)):
        detector = Detector(write_stub(tmp_path / f'{sizes}.onnx', sizes=sizes))
        for found in detector.batch(images):
            assert found.confidence[-1] == score
    inputs, sizes = prepare(images, PREPROCESS)
    assert (detector.run(inputs)[1][:, 2] == 0.25).all()
    assert (detector.run(inputs, sizes)[1][:, 2] == 0.125).all()


@pytest.mark.parametrize('bgr_to_rgb', [False, True])
def test_a_file_that_normalises_finds_the_same(tmp_path, bgr_to_rgb):
    image = picture(64, 80)
    ours, theirs = (
        Detector(
            write_stub(
                tmp_path / f'{inside}.onnx',
                # No padding, where the two differ by half a grey level.
                dict(scale=[160, 128], inside=inside, bgr_to_rgb=bgr_to_rgb),
            )
        )(image)
        for inside in (False, True)
    )
    np.testing.assert_allclose(ours.xyxy, theirs.xyxy, atol=1e-4)
    np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=1e-6)


def images_of_kinds(folder):
    """Files as cameras, scanners and programs write them."""
    image = picture()
    grey = image[..., 0]
    alpha = np.dstack([image, np.full(image.shape[:2], 90, np.uint8)])
    deep = image.astype(np.uint16) * np.uint16(256) + np.uint16(200)
    for name, content in (
        ('colour.png', image),
        ('colour.jpg', image),
        ('grey.png', grey),
        ('grey.jpg', grey),
        ('alpha.png', alpha),
        ('deep.png', deep),
        ('deep.tiff', deep),
        ('deep grey.png', deep[..., 0]),
        ('zelle ä.bmp', image),
        ('small.webp', image),
    ):
        ok, encoded = cv2.imencode(Path(name).suffix, content)
        assert ok
        (folder / name).write_bytes(encoded.tobytes())
    for orientation in (3, 6, 8):
        turned = folder / f'turned {orientation}.jpg'
        shutil.copy(folder / 'colour.jpg', turned)
        turn_by_exif(turned, orientation)
    return sorted(folder.iterdir())


def test_files_are_read_as_mmcv_reads_them(tmp_path, detector):
    paths = images_of_kinds(tmp_path)
    assert len(paths) == 13
    assert read_image(tmp_path / 'turned 6.jpg').shape == (140, 90, 3)
    for path in paths:
        expected = mmcv.imread(path)
        np.testing.assert_array_equal(read_image(path), expected)
        # As an array: what OpenCV gives when it is not told to make colours.
        raw = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        # OpenCV rounds 16 bits of a TIFF file, and drops 8 of a PNG file.
        if 'turned' not in path.name and path.suffix != '.tiff':
            for image in (str(path), raw, np.asfortranarray(expected)):
                np.testing.assert_array_equal(
                    detector(image).xyxy, detector(expected).xyxy, path.name
                )


def changed_weight(model):
    weights = next(t for t in model.graph.initializer if t.name == 'weights')
    weights.raw_data = bytes([weights.raw_data[0] ^ 1]) + weights.raw_data[1:]


def other_opset(model):
    model.opset_import[0].version = 99


def changed_metadata(**changes):
    def change(model):
        metadata = {p.key: p.value for p in model.metadata_props}['tresnet_det']
        metadata = {**json.loads(metadata), **changes}
        metadata = {k: v for k, v in metadata.items() if v is not None}
        set_metadata(model, json.dumps(metadata))

    return change


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda m: m.ClearField('metadata_props'), 'of another program.*export.py'),
        (lambda m: set_metadata(m, '{"format": 1'), 'no JSON'),
        (lambda m: set_metadata(m, '[1]'), 'list in place of an object'),
        (changed_weight, 'changed after its export: sha256'),
        (other_opset, 'changed after its export: sha256'),
        (lambda m: m.graph.node.pop(), 'changed after its export: sha256'),
        (changed_metadata(format=2), 'form 2.*reads form 1'),
        (changed_metadata(format=None), 'form None.*reads form 1'),
        (changed_metadata(kind='raw'), "'raw' outputs, expected detections"),
        (changed_metadata(classes=None), 'metadata lack classes'),
        (changed_metadata(graph_sha256=None), 'metadata lack graph_sha256'),
    ],
)
def test_changed_and_foreign_files_are_refused(stub, tmp_path, change, message):
    model = onnx.load(stub)
    change(model)
    path = tmp_path / 'changed.onnx'
    onnx.save(model, path)
    with pytest.raises(UserError, match=message) as caught:
        Detector(path)
    assert isinstance(caught.value, OurUserError)  # the tools tell it in a line
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    'content',
    [
        lambda whole: b'',
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-1],
        lambda whole: b'version https://git-lfs.github.com/spec/v1\n',
        lambda whole: cv2.imencode('.jpg', picture())[1].tobytes(),
        lambda whole: b'PK\x03\x04' + whole,
        lambda whole: b'\xff' * 100,
    ],
    ids=['empty', 'half', 'cut', 'lfs', 'jpeg', 'zip', 'ones'],
)
def test_what_is_no_onnx_file_is_refused(stub, tmp_path, content):
    path = tmp_path / 'model.onnx'
    path.write_bytes(content(stub.read_bytes()))
    with pytest.raises(UserError, match=f'{path} is no ONNX file.*copy it again'):
        Detector(path)


def test_onnxruntime_refuses_and_is_missing(tmp_path, stub, monkeypatch):
    model = onnx.load(stub)
    other_opset(model)
    set_metadata(model, '{}')
    onnx.save(model, tmp_path / 'new.onnx')
    digest = graph_sha256(tmp_path / 'new.onnx')
    metadata = dict(read_metadata(stub), graph_sha256=digest)
    set_metadata(model, json.dumps(metadata))
    onnx.save(model, tmp_path / 'new.onnx')
    with pytest.raises(UserError, match='onnxruntime .* cannot load .*new.onnx'):
        Detector(tmp_path / 'new.onnx')
    with pytest.raises(UserError, match='has no NoProvider, it has .*CPU'):
        Detector(stub, providers=['NoProvider'])
    with pytest.raises(UserError, match='threads is 0'):
        Detector(stub, threads=0)
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(UserError, match='pip install onnxruntime'):
        Detector(stub)


def test_missing_paths_are_named(tmp_path, detector):
    for call, path in ((Detector, 'no.onnx'), (detector, 'no.jpg')):
        with pytest.raises(FileNotFoundError, match=path):
            call(tmp_path / path)
    with pytest.raises(IsADirectoryError):
        Detector(tmp_path)


@pytest.mark.parametrize(
    'image, message',
    [
        (np.zeros((1, 1000, 3), np.uint8), '1000x1 pixels would be resized to 160x0'),
        (np.zeros((1000, 1, 3), np.uint8), '1x1000 pixels would be resized to 0x160'),
        (np.zeros((9, 9, 3), np.float32), r'float32 and shape \(9, 9, 3\)'),
        (np.zeros((9, 9, 3), bool), 'expected uint8'),
        (np.zeros((3, 9, 9), np.uint8), r'shape \(3, 9, 9\)'),
        (np.zeros((1, 9, 9, 3), np.uint8), r'shape \(1, 9, 9, 3\)'),
        (np.zeros((9, 9, 2), np.uint8), r'shape \(9, 9, 2\)'),
        (np.zeros((0, 9, 3), np.uint8), r'shape \(0, 9, 3\)'),
        (np.zeros(9, np.uint8), r'shape \(9,\)'),
        ([[[0, 0, 0]]], 'an image is a list, expected a path'),
        (None, 'an image is a NoneType'),
    ],
)
def test_bad_arrays_are_refused(detector, image, message):
    with pytest.raises(UserError, match=message):
        detector(image)


def test_narrow_images_that_leave_pixels_are_taken(detector):
    assert len(detector(np.zeros((1, 200, 3), np.uint8)))
    assert len(detector(np.zeros((1, 1, 3), np.uint8)))


@pytest.mark.parametrize(
    'content', [b'', b'no image', b'\x89PNG\r\n\x1a\n', b'GIF89a'], ids=repr
)
def test_unreadable_images_are_named(tmp_path, detector, content):
    path = tmp_path / 'image.png'
    path.write_bytes(content)
    with pytest.raises(UserError, match=f'{path} cannot be read as an image: '):
        detector(path)


def test_the_digest_is_onnxs_own(stub):
    model = onnx.load(stub)
    assert graph_sha256(stub) == read_metadata(stub)['graph_sha256']
    onnx.helper.set_model_props(model, {})
    onnx.save(model, stub.with_name('bare.onnx'))
    assert graph_sha256(stub.with_name('bare.onnx')) == graph_sha256(stub)


def run_alone(folder, *arguments):
    return subprocess.run(
        [sys.executable, '-c', BLOCK + arguments[0], *arguments[1:]],
        cwd=folder,
        env={'PATH': '', 'PYTHONPATH': ''},
        capture_output=True,
        text=True,
    )


def test_runs_alone_beside_its_model(tmp_path, stub, detector):
    """Two files, copied; nothing of torch and mm* can be imported."""
    shutil.copy(RUNTIME, tmp_path)
    shutil.copy(stub, tmp_path)
    image = picture()
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    done = run_alone(
        tmp_path,
        'import runtime; runtime.main(sys.argv[1:])',
        'model.onnx',
        'image.png',
        'no.png',
    )
    assert done.returncode == 1
    assert done.stderr.startswith('error: ') and 'no.png' in done.stderr
    (line,) = done.stdout.splitlines()
    found, expected = json.loads(line), detector(image)
    assert found['image'] == 'image.png'
    assert found['xyxy'] == expected.xyxy.tolist()
    assert found['confidence'] == expected.confidence.tolist()
    assert found['class_name'] == list(CLASSES)
    assert {p.name for p in tmp_path.iterdir()} - {'__pycache__'} == {
        'runtime.py',
        'model.onnx',
        'image.png',
    }


def test_the_block_blocks(tmp_path):
    """Else the test above would say nothing."""
    done = run_alone(tmp_path, 'import torch')
    assert done.returncode == 1 and "No module named 'torch'" in done.stderr
    assert importlib.util.find_spec('torch') is not None
