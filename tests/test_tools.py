"""The commands, ours and MMDetection's own, on the demo config, as users
call them."""

import json
import re
from pathlib import Path

import cv2
import pytest
from forked import run_forked
from mmdet.apis import DetInferencer

from tresnet_det.evaluation.figures import COCO_FIGURES
from tresnet_det.training.mmdet_tools import find_mmdet_tool

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / 'configs' / 'demo' / 'fcos_tresnet-m_fpn_demo.py'
DEMO = [
    ROOT / 'tools' / 'demo.py',
    '--num-train',
    '8',
    '--num-val',
    '3',
    '--epochs',
    '1',
    '--out-dir',
]


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Runs a command; what it printed."""
    output = tmp_path_factory.mktemp('output') / 'output'

    def run(*command, status=0, **environment):
        done = run_forked(output, *command, **environment)
        assert done.returncode == status, done.stdout[-3000:]
        return done.stdout

    return run


@pytest.fixture(scope='module')
def demo(tmp_path_factory, run):
    """Output of a tiny demo, and its folder (with a space in the path)."""
    out = tmp_path_factory.mktemp('tools') / 'the demo'
    return run(*DEMO, out), out


def test_demo_shows_progress_and_writes_what_it_names(demo):
    text, out = demo
    for stage in ('[1/4] data', '[2/4] training', '[3/4] evaluation', '[4/4] report'):
        assert stage in text
    assert re.search(r'Epoch\(train\).* eta: ', text)
    assert all(f' {name} ' in text.splitlines()[-10] for name in COCO_FIGURES)
    figures = json.loads((out / 'figures.json').read_text())
    assert list(figures) == list(COCO_FIGURES)
    assert 0 <= figures['AP'] <= 1
    named = [line.rsplit(':', 1)[0] for line in text.splitlines()[-6:]]
    written = {p.name for p in out.iterdir()} - {'test'}
    assert {Path(path).name for path in named} == written
    assert cv2.imread(str(out / 'curves.png')) is not None
    assert len(list((out / 'pictures').glob('*.jpg'))) == 3


def test_demo_again_does_nothing_twice(demo, run):
    _, out = demo
    kept = [
        out / 'train' / 'epoch_1.pth',
        out / 'detections.bbox.json',
        out / 'data' / 'train' / '000001.png',
    ]
    before = [path.stat().st_mtime_ns for path in kept]
    text = run(*DEMO, out)
    assert before == [path.stat().st_mtime_ns for path in kept]
    assert 'Epoch(' not in text and ' AP50 ' in text


def test_mmdetections_train_resumes_and_its_test_evaluates(demo, tmp_path, run):
    _, out = demo
    tools = [find_mmdet_tool(name) for name in ('train.py', 'test.py')]
    data = dict(DEMO_DATA=str(out / 'data'))
    (tmp_path / 'last_checkpoint').write_text(str(out / 'train' / 'epoch_1.pth'))
    # So little training gives faint detections only: keep all.
    text = run(
        tools[0],
        CONFIG,
        '--resume',
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'train_cfg.max_epochs=2',
        'train_cfg.val_interval=2',
        'param_scheduler.1.T_max=2',
        'model.test_cfg.score_thr=0',
        f'val_evaluator.outfile_prefix={tmp_path}/trained',
        **data,
    )
    assert 'resumed epoch: 1, iter: 2' in text
    assert 'Epoch(train) [1]' not in text
    run(
        tools[1],
        CONFIG,
        tmp_path / 'epoch_2.pth',
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'model.test_cfg.score_thr=0',
        f'test_evaluator.outfile_prefix={tmp_path}/tested',
        **data,
    )
    trained, tested = (
        json.loads((tmp_path / f'{name}.bbox.json').read_text())
        for name in ('trained', 'tested')
    )
    assert len(trained) > 100
    assert tested == trained


def test_wrong_class_name_stops_both_commands(demo, tmp_path, run):
    _, out = demo
    data = dict(DEMO_DATA=str(out / 'data'))
    wrong = tmp_path / 'wrong.py'
    wrong.write_text(
        f'_base_ = {str(CONFIG)!r}\n'
        "metainfo = dict(classes=('circel', 'ring', 'square', 'triangle',\n"
        "                         'star', 'cross'))\n"
        'train_dataloader = dict(dataset=dict(metainfo=metainfo))\n'
        'test_dataloader = dict(dataset=dict(metainfo=metainfo))\n'
    )
    for command in (
        ['train.py', wrong],
        ['test.py', wrong, out / 'train' / 'epoch_1.pth'],
    ):
        text = run(
            ROOT / 'tools' / command[0],
            *command[1:],
            '--work-dir',
            tmp_path,
            status=1,
            **data,
        )
        assert "in the config but not in the file: ['circel']" in text
        assert 'Epoch(' not in text and 'Load checkpoint' not in text


@pytest.mark.long
def test_get_flops_counts_every_conv_whatever_the_norm(demo, run):
    _, out = demo
    counts = {}
    for norm in ('BN', 'InPlaceABN'):
        text = run(
            find_mmdet_tool('analysis_tools/get_flops.py'),
            CONFIG,
            '--num-images',
            '1',
            '--cfg-options',
            f'model.backbone.norm_cfg.type={norm}',
            DEMO_DATA=str(out / 'data'),
        )
        counts[norm] = re.findall(r'(?:Flops|Params): (\S+)', text)
        assert 'PythonOp' not in text  # would be left out of the count
    assert counts['BN'] == counts['InPlaceABN'] == ['3.355G', '30.797M']


def test_browse_dataset(demo, tmp_path, run):
    _, out = demo
    run(
        find_mmdet_tool('analysis_tools/browse_dataset.py'),
        CONFIG,
        '--not-show',
        '--output-dir',
        tmp_path,
        DEMO_DATA=str(out / 'data'),
    )
    assert len(list(tmp_path.glob('*.png'))) == 8


def test_inferencer(demo, tmp_path):
    _, out = demo
    inferencer = DetInferencer(
        str(CONFIG),
        str(out / 'train' / 'epoch_1.pth'),
        device='cpu',
        show_progress=False,
    )
    results = inferencer(
        str(out / 'data' / 'val' / '000001.png'), out_dir=str(tmp_path)
    )
    assert set(results['predictions'][0]) == {'labels', 'scores', 'bboxes'}
    assert (tmp_path / 'vis' / '000001.png').exists()
    assert inferencer.visualizer.dataset_meta['classes'][0] == 'circle'


def test_make_demo_data(tmp_path, run):
    command = (
        ROOT / 'tools' / 'misc' / 'make_demo_data.py',
        tmp_path / 'data',
        '--num-train',
        '2',
        '--num-val',
        '1',
    )
    assert 'data: drawn' in run(*command)
    assert 'data: was there already' in run(*command)


def test_coco_subset(demo, tmp_path, run):
    _, out = demo
    text = run(
        ROOT / 'tools' / 'dataset_converters' / 'coco_subset.py',
        out / 'data' / 'annotations' / 'instances_train.json',
        out / 'data' / 'train',
        tmp_path / 'two',
        '--num-images',
        '2',
    )
    assert '2 images' in text
    assert len(list((tmp_path / 'two' / 'train').iterdir())) == 2


def test_missing_tool_is_named():
    with pytest.raises(FileNotFoundError, match='no_such.py'):
        find_mmdet_tool('no_such.py')
