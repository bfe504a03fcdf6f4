"""One tiny detector through the whole export: the file, its checks, errors."""

import json
import runpy
import sys
from types import SimpleNamespace

import newer_torch  # noqa: F401
import numpy as np
import pytest
import torch
from exported import exported, take_graph_of
from mmengine.config import Config
from small_detectors import ARCH, ROOT, shaken
from tensorrt_table import TENSORRT

from tresnet_det import UserError
from tresnet_det.data.demo_data import make_demo_data
from tresnet_det.deployment import export as exporting
from tresnet_det.deployment import onnx_file, verification
from tresnet_det.deployment.detector import load_detector
from tresnet_det.deployment.folding import deployed
from tresnet_det.deployment.graphs import detector_graph
from tresnet_det.deployment.onnx_export import as_onnx
from tresnet_det.weights.files import CheckpointError

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxscript')
pytest.importorskip('onnxruntime')

CONFIG = """
_base_ = {base!r}
data_root = {data!r}
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
model = dict(
    backbone=dict(arch=dict(_delete_=True, **{arch!r})),
    neck=dict(in_channels=[8, 16, 128, 256], out_channels=32),
    bbox_head=dict(in_channels=32, feat_channels=64, stacked_convs=1),
    test_cfg=dict(score_thr=0.3, max_per_img=20, nms_pre=100))
"""


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Config, checkpoint, detector, file and its remarks."""
    root = tmp_path_factory.mktemp('export')
    make_demo_data(root / 'data', 4, 3, size=64)
    config = root / 'config.py'
    config.write_text(
        CONFIG.format(
            base=str(ROOT / 'configs/demo/fcos_tresnet-m_fpn_demo.py'),
            data=f'{root}/data/',
            arch=ARCH,
        )
    )
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = shaken(MODELS.build(Config.fromfile(config).model))
    return exported(config, model)


@pytest.fixture
def quick(made, monkeypatch):
    """Exports that take the translated graph as it is."""
    take_graph_of(made, monkeypatch)


def test_the_commands(made, quick, tmp_path, monkeypatch, capsys):
    def call(tool, *arguments):
        path = ROOT / 'tools' / 'deployment' / tool
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        runpy.run_path(str(path), run_name='__main__')
        return capsys.readouterr().out

    config, checkpoint, file = made.config, made.checkpoint, tmp_path / 'a.onnx'
    told = call('export.py', config, checkpoint, file, '--num-images', 1)
    assert 'AP' in told and [path.name for path in tmp_path.iterdir()] == ['a.onnx']
    assert 'as it was verified; not compared again' in call('verify.py', file)
    options = '--num-images', 1, '--sizes', '33x47', '--batches', 1, 2
    told = call('verify.py', file, config, checkpoint, *options)
    assert '2x33x47' in told and told.endswith(': verified\n')
    with pytest.raises(SystemExit, match='error: .*another checkpoint'):
        other = tmp_path / 'other.pth'
        weights = torch.load(checkpoint, weights_only=True)
        torch.save(dict(weights, meta=dict(epoch=1)), other)
        call('verify.py', file, config, other)


def test_what_was_verified_stands_in_the_file(made):
    remarks = made.remarks
    assert remarks['format'] == 1 and remarks['kind'] == 'detections'
    assert remarks['classes'] == list(made.detector.classes)
    assert remarks['preprocess'] == dict(
        scale=[160, 160],
        keep_ratio=True,
        interpolation='bilinear',
        mean=[0, 0, 0],
        std=[255, 255, 255],
        bgr_to_rgb=True,
        pad_size_divisor=32,
        pad_value=0,
        inside=False,
    )
    assert max(remarks['verified']['maps'].values()) < 1e-5
    val = remarks['verified']['val']
    assert val['images'] == 3 and val['detections'] > 0 and val['alike'] == 1
    assert val['file'] == val['mmdetection'] and len(val['file']) == 12
    assert any('AP75' in line for line in made.told)


def test_operators_are_of_onnx_and_in_tensorrts_table(made):
    model = made.model
    assert {(o.domain, o.version) for o in model.opset_import} == {('', 18)}
    assert {node.domain for node in model.graph.node} == {''}
    assert {node.op_type for node in model.graph.node} <= TENSORRT
    assert not model.functions


@pytest.mark.long
def test_raw_files_end_before_nms(made, tmp_path):
    graph = detector_graph(deployed(made.detector.model), raw=True)
    model, maps = as_onnx(graph, tmp_path)
    kinds = {node.op_type for node in model.graph.node}
    assert kinds <= TENSORRT - {'NonMaxSuppression', 'TopK', 'ScatterND'}
    assert [value.name for value in model.graph.output] == ['boxes', 'scores']
    assert len(maps) == len(made.remarks['maps'])


@pytest.mark.parametrize('shape', [(1, 32, 32), (3, 97, 161), (8, 64, 50)], ids=str)
def test_maps_at_other_sizes(made, shape):
    maps = verification.compare_maps(made.detector, made.model, made.remarks, [shape])
    assert max(maps.values()) < 1e-4


def test_sizes_is_optional_and_clips(made):
    session = verification.open_session(made.model)
    assert [i.name for i in session.get_inputs()] == ['images']
    images = np.random.default_rng(0).random((2, 3, 64, 96), np.float32)
    run = lambda **more: session.run(None, dict(images=images, **more))  # noqa: E731
    whole = run()
    full = run(sizes=np.array([[64, 96]] * 2))
    assert all(np.array_equal(a, b) for a, b in zip(whole, full))
    assert whole[0][..., 3].max() > 50
    boxes, scores, labels = run(sizes=np.array([[64, 96], [50, 70]]))
    assert boxes.shape == (2, 20, 4) and labels.dtype == np.int64
    assert boxes[1, :, 2].max() <= 70 and boxes[1, :, 3].max() <= 50
    assert np.array_equal(boxes[0], whole[0][0])
    unused = labels < 0
    assert not scores[unused].any() and not boxes[unused].any()


def test_a_file_that_finds_nothing(made):
    model = onnx.ModelProto()
    model.CopyFrom(made.model)
    threshold = np.float32(0.3)
    places = [*model.graph.initializer]
    places += [node.attribute[0].t for node in model.graph.node if is_constant(node)]
    found = [place for place in places if place.raw_data == threshold.tobytes()]
    assert found
    for place in found:
        place.raw_data = np.float32(2).tobytes()
    session = verification.open_session(model)
    images = np.random.default_rng(0).random((2, 3, 64, 96), np.float32)
    boxes, scores, labels = session.run(None, dict(images=images))
    assert boxes.shape == (2, 20, 4) and (labels == -1).all()
    assert not boxes.any() and not scores.any()


def is_constant(node):
    return node.op_type == 'Constant' and node.attribute[0].name == 'value'


def test_int8_is_small_and_judged(made, quick, tmp_path):
    out = tmp_path / 'int8.onnx'
    match = 'MMDetection .*, file .*--float32 .*--tolerance'
    with pytest.raises(verification.VerificationError, match=match):
        exporting.export_onnx(made.detector, out, 'int8', tolerance=-1.0)
    assert not list(tmp_path.iterdir())
    remarks = exporting.export_onnx(
        made.detector, out, 'int8', num_calibration=2, tolerance=1.0
    )
    assert remarks['verified']['tolerance'] == 1.0
    kinds = {node.op_type for node in onnx_file.load_model(out).graph.node}
    assert kinds - TENSORRT == {'QuantizeLinear', 'DequantizeLinear'}
    assert out.stat().st_size < 0.6 * made.file.stat().st_size


def test_int8_leaves_in_float32_what_is_named(made, quick, tmp_path):
    files = {}
    for modules in ((), ('neck', 'backbone.stages.3')):
        out = files[modules] = tmp_path / f'{len(modules)}.onnx'
        remarks = exporting.export_onnx(
            made.detector,
            out,
            'int8',
            num_calibration=2,
            tolerance=1.0,
            float32=modules,
        )
        assert remarks.get('float32', []) == [*modules]
    few, more = (in_8_bits(onnx_file.load_model(out)) for out in files.values())
    assert few - more == {
        name for name in few if name.startswith(('net.neck.', 'net.backbone.stages.3.'))
    }
    assert len(few - more) > 5 and more < few
    with pytest.raises(UserError, match='nothing is left for int8'):
        exporting.export_onnx(
            made.detector,
            tmp_path / 'x.onnx',
            'int8',
            num_calibration=1,
            float32=['backbone', 'neck', 'head'],
        )
    with pytest.raises(
        UserError, match='--float32 tail .* made of backbone, head, neck'
    ):
        exporting.export_onnx(
            made.detector, tmp_path / 'x.onnx', 'int8', float32=['tail']
        )


def in_8_bits(model):
    """The names of the weights that a file has in 8 bits."""
    return {
        value.name.removesuffix('_quantized')
        for value in model.graph.initializer
        if value.name.endswith('.weight_quantized')
    }


def test_a_file_that_differs_gets_no_name(made, quick, tmp_path):
    for value in made.model.graph.initializer:
        if len(value.dims) == 4 and len(value.raw_data) > 4000:
            kept, value.raw_data = value.raw_data, bytes(len(value.raw_data))
            break
    try:
        with pytest.raises(verification.VerificationError, match='maps at 1x32x32'):
            exporting.export_onnx(made.detector, tmp_path / 'new' / 'out.onnx')
    finally:
        value.raw_data = kept
    assert not list(tmp_path.iterdir())


def test_without_a_val_split_the_file_says_so(made, quick, tmp_path):
    options = dict(val_dataloader=dict(dataset=dict(ann_file='none.json')))
    detector = load_detector(made.config, made.checkpoint, options)
    remarks = exporting.export_onnx(detector, tmp_path / 'out.onnx')
    assert 'val split is not there' in remarks['verified']['not_compared']
    assert 'none.json' in remarks['verified']['not_compared']
    assert 'val' not in remarks['verified']


def test_int8_without_images_is_an_error(made, quick, tmp_path):
    options = dict(train_dataloader=dict(dataset=dict(ann_file='none.json')))
    detector = load_detector(made.config, made.checkpoint, options)
    with pytest.raises(UserError, match='calibrated on images of the train split'):
        exporting.export_onnx(detector, tmp_path / 'new' / 'out.onnx', 'int8')
    assert not list(tmp_path.iterdir())


def changed_weight(model):
    value = next(v for v in model.graph.initializer if len(v.raw_data) > 4000)
    value.raw_data = value.raw_data[:-1] + bytes([value.raw_data[-1] ^ 1])


def changed_opset(model):
    model.opset_import[0].version = 19


def changed_operator(model):
    next(n for n in model.graph.node if n.op_type == 'Relu').op_type = 'Neg'


def other_opset(model):
    model.opset_import[0].version = 9


def other_domain(model):
    model.opset_import.add(domain='com.microsoft', version=1)


def no_remarks(model):
    del model.metadata_props[:]


def later_format(model):
    model.metadata_props[0].value = json.dumps(dict(format=99))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (changed_weight, 'was changed after its export'),
        (changed_opset, 'was changed after its export'),
        (changed_operator, 'was changed after its export'),
        (other_opset, "operator sets {'': 9}"),
        (other_domain, 'com.microsoft'),
        (no_remarks, 'of another program'),
        (later_format, 'expected format 1'),
    ],
)
def test_a_changed_file_is_refused(made, tmp_path, change, message):
    model = onnx.load(made.file)
    change(model)
    file = tmp_path / 'changed.onnx'
    file.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=message):
        onnx_file.check_integrity(onnx_file.load_model(file), file)


@pytest.mark.parametrize(
    'content', [b'', b'no model', None], ids=['empty', 'text', 'cut']
)
def test_a_damaged_file_is_refused(made, tmp_path, content):
    file = tmp_path / 'damaged.onnx'
    file.write_bytes(made.file.read_bytes()[:-999] if content is None else content)
    with pytest.raises(UserError, match='is no ONNX file, or it is damaged'):
        onnx_file.load_model(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match='none.onnx is not there'):
        onnx_file.load_model(tmp_path / 'none.onnx')


def test_missing_packages_are_named():
    with pytest.raises(
        UserError, match=r"not_there.*pip install 'tresnet_det\[export\]'"
    ):
        onnx_file.need_packages('onnx', 'not_there')


def test_checkpoints_that_do_not_fit(made, tmp_path):
    with pytest.raises(CheckpointError, match='does not exist'):
        load_detector(made.config, tmp_path / 'none.pth', None)
    state = made.detector.model.state_dict()
    state.pop('bbox_head.conv_cls.weight')
    state['bbox_head.conv_cls.bias'] = torch.zeros(99)
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='1 of .* missing .*conv_cls.weight'):
        load_detector(made.config, tmp_path / 'other.pth', None)


def test_configs_that_are_none(made, tmp_path):
    with pytest.raises(UserError, match='none.py is not there'):
        load_detector(tmp_path / 'none.py', made.checkpoint, None)
    (tmp_path / 'empty.py').write_text('a = 1')
    with pytest.raises(UserError, match='has no model'):
        load_detector(tmp_path / 'empty.py', made.checkpoint, None)


def test_a_val_split_on_which_nothing_is_found(made):
    split = SimpleNamespace(
        ann_file=str(made.root / 'data' / 'annotations' / 'instances_val.json'),
        cat_ids=[1],
    )
    figures = verification._figures(split, [], [1])
    assert len(figures) == 12 and max(figures.values()) <= 0


def test_class_names_that_do_not_fit(made):
    options = dict(test_dataloader=dict(dataset=dict(metainfo=dict(classes=('one',)))))
    with pytest.raises(UserError, match='the head has 6 classes, and 1 names'):
        load_detector(made.config, made.checkpoint, options)


def test_outputs_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match='must end in .onnx'):
        exporting.check_output(tmp_path / 'out.pt', '.onnx')
    (tmp_path / 'folder.onnx').mkdir()
    with pytest.raises(UserError, match='is a folder'):
        exporting.check_output(tmp_path / 'folder.onnx', '.onnx')
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='nothing can be written into'):
        exporting.check_output(tmp_path / 'file' / 'out.onnx', '.onnx')
