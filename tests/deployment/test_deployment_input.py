"""What cannot be exported, verified or timed: one line, and nothing written.

The runtime's, the page's and the pictures' bad inputs are in their own tests.
"""

import importlib.util
import runpy
import shutil
import sys

import newer_torch  # noqa: F401
import onnx
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from small_detectors import ARCH, ROOT
from stub_files import write_stub

CONFIG = ROOT / 'configs' / 'demo' / 'fcos_tresnet-m_fpn_demo.py'


@pytest.fixture(scope='module')
def unsupported(tmp_path_factory):
    """Detectors that are whole, but that no file can hold, and their weights."""
    folder = tmp_path_factory.mktemp('unsupported')
    head = dict(type='FoveaHead', num_classes=3, in_channels=8, feat_channels=32)
    fcos = dict(head, type='FCOSHead', strides=[8])
    nms = dict(type='soft_nms', iou_threshold=0.5)
    for name, bbox_head in dict(head=head, soft=fcos).items():
        model = dict(
            type='SingleStageDetector',
            data_preprocessor=dict(type='DetDataPreprocessor'),
            backbone=dict(type='TResNet', arch=ARCH, out_indices=(1,)),
            neck=dict(type='FPN', in_channels=[16], out_channels=8, num_outs=1),
            bbox_head=bbox_head,
            test_cfg=dict(nms_pre=9, score_thr=0.1, max_per_img=9, nms=nms),
        )
        (folder / f'{name}.py').write_text(f'model = {model!r}\n')
        init_default_scope('mmdet')
        state = MODELS.build(model).state_dict()
        meta = dict(dataset_meta=dict(classes=('a', 'b', 'c')))
        torch.save(dict(state_dict=state, meta=meta), folder / f'{name}.pth')
    return folder


@pytest.fixture
def files(tmp_path, unsupported):
    """Inputs of the kinds that people give."""
    shutil.copytree(unsupported, tmp_path, dirs_exist_ok=True)
    write_stub(tmp_path / 'stub.onnx')
    bare = onnx.load(tmp_path / 'stub.onnx')
    bare.ClearField('metadata_props')
    onnx.save(bare, tmp_path / 'foreign.onnx')
    bare.opset_import[0].version = 9
    onnx.save(bare, tmp_path / 'old.onnx')
    (tmp_path / 'cut.onnx').write_bytes((tmp_path / 'stub.onnx').read_bytes()[:500])
    (tmp_path / 'empty.onnx').write_bytes(b'')
    (tmp_path / 'text.pth').write_text('no weights')
    torch.save(dict(state_dict={'fc.weight': torch.zeros(2, 2)}), tmp_path / 'fc.pth')
    (tmp_path / 'wrong.py').write_text('model = dict(\n')
    (tmp_path / 'none.py').write_text('a = 1\n')
    (tmp_path / 'folder.onnx').mkdir()
    (tmp_path / 'nothing').mkdir()
    return tmp_path


EXPORT = [
    ('nowhere.py text.pth out.onnx', 'nowhere.py is not there'),
    ('wrong.py text.pth out.onnx', 'cannot be read: '),
    ('none.py text.pth out.onnx', 'none.py has no model'),
    ('CONFIG nowhere.pth out.onnx', 'nowhere.pth'),
    ('CONFIG text.pth out.onnx', 'text.pth'),
    ('CONFIG stub.onnx out.onnx', 'stub.onnx'),
    ('CONFIG fc.pth out.onnx', 'fc.pth'),
    ('CONFIG fc.pth new/deep/out.onnx', 'fc.pth'),
    ('CONFIG fc.pth new/out.pt2 --format torch-export', 'fc.pth'),
    ('head.py head.pth new/out.onnx', 'with a FoveaHead; export knows'),
    ('soft.py soft.pth new/out.onnx', 'soft_nms is not'),
    ('CONFIG fc.pth out.onnx --cfg-options model.nothing=1', 'cannot be built'),
    ('CONFIG fc.pth out.pt', 'must end in .onnx'),
    ('CONFIG fc.pth out.onnx --format torch-export', 'must end in .pt2'),
    ('CONFIG fc.pth folder.onnx', 'is a folder'),
    ('CONFIG fc.pth text.pth/out.onnx', 'nothing can be written into'),
    ('CONFIG fc.pth out.onnx --num-images 0', '--num-images is 0'),
    ('CONFIG fc.pth out.onnx --num-calibration -1', '--num-calibration is -1'),
    ('CONFIG fc.pth out.pt2 --format torch-export --precision int8', 'fp32 only'),
    ('CONFIG fc.pth out.onnx --precision int4', 'int4'),
    ('CONFIG fc.pth out.onnx --float32 neck', 'is for --precision int8, not fp32'),
    ('CONFIG fc.pth out.onnx --tolerance nan', '--tolerance is nan'),
    ('CONFIG fc.pth out.onnx --tolerance -1', '--tolerance is -1'),
]
VERIFY = [
    ('nowhere.onnx', 'nowhere.onnx is not there'),
    ('folder.onnx', 'folder.onnx is not there'),
    ('foreign.onnx', 'of another program'),
    ('old.onnx', "operator sets {'': 9}"),
    ('cut.onnx', 'damaged'),
    ('empty.onnx', 'damaged'),
    ('text.pth', 'damaged'),
    ('stub.onnx CONFIG', 'CONFIG needs CHECKPOINT'),
    ('stub.onnx CONFIG fc.pth --sizes 97', '--sizes'),
    ('stub.onnx CONFIG fc.pth --sizes 31x64', '31x64'),
    ('stub.onnx CONFIG fc.pth --sizes 64x64 --batches 0', '--batches'),
    ('stub.onnx CONFIG fc.pth --num-images 0', '--num-images is 0'),
    ('stub.onnx CONFIG fc.pth', 'fc.pth'),
]
LATENCY = [
    ('CONFIG fc.pth --images nowhere', 'nowhere'),
    ('CONFIG fc.pth --images nothing', 'nothing'),
    ('nowhere.py fc.pth --images nothing', 'nowhere.py'),
    ('CONFIG fc.pth --images nothing --onnx nowhere.onnx', 'nowhere.onnx'),
    ('CONFIG fc.pth --images nothing --size 0 64', '--size, --rounds'),
    ('CONFIG fc.pth --images nothing --ways fast', 'fast'),
    ('CONFIG fc.pth --images nothing --out text.pth/new/a.json', 'can be written'),
]


CASES = [
    (tool, words, message)
    for tool, cases in dict(export=EXPORT, verify=VERIFY, latency=LATENCY).items()
    for words, message in cases
]


@pytest.mark.parametrize(
    ('tool', 'words', 'message'), CASES, ids=[words for _, words, _ in CASES]
)
def test_one_line_and_nothing_written(files, tool, words, message, monkeypatch, capsys):
    monkeypatch.chdir(files)
    before = sorted(files.rglob('*'))
    assert_told(tool, words, message, monkeypatch, capsys)
    assert sorted(files.rglob('*')) == before


def assert_told(tool, words, message, monkeypatch, capsys):
    arguments = [str(CONFIG) if word == 'CONFIG' else word for word in words.split()]
    monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(
            str(ROOT / 'tools' / 'deployment' / f'{tool}.py'), run_name='__main__'
        )
    told = ended.value.code
    if told == 2:  # argparse has printed it
        told = capsys.readouterr().err.splitlines()[-1].partition(': ')[2]
    assert told.startswith('error: ') and message in told, told
    assert told.count('\n') == 0


@pytest.mark.parametrize('tool', ['export', 'verify'])
def test_missing_packages_are_named_first(files, tool, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        'find_spec',
        lambda name, *rest: None if name == 'onnxruntime' else find(name, *rest),
    )
    monkeypatch.chdir(files)
    words = dict(export='CONFIG fc.pth out.onnx', verify='stub.onnx')[tool]
    message = 'onnxruntime. Export and verification need them: pip install'
    assert_told(tool, words, message, monkeypatch, capsys)
