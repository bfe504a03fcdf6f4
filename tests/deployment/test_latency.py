"""Latency: every subject in every round, a fresh process for each."""

import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from stub_files import write_stub

from tresnet_det.common import paired
from tresnet_det.common.errors import UserError
from tresnet_det.common.paired import Seconds, paired_rounds, ratio
from tresnet_det.deployment import latency
from tresnet_det.deployment.latency import Row, Subject, measure, table
from tresnet_det.deployment.runtime import Detector, prepare

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / 'configs' / 'demo' / 'fcos_tresnet-m_fpn_demo.py')


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / f'{i}.png' for i in range(2)]
    for i, path in enumerate(paths):
        noise = np.random.default_rng(i).integers(0, 256, (50, 70, 3), np.uint8)
        cv2.imwrite(str(path), noise)
    return paths


def test_rounds_go_through_all_steps_in_turn(monkeypatch):
    """Clocks of our own: what is done takes as long as it says."""
    clock = dict(wall=0.0, cpu=0.0)
    monkeypatch.setattr(paired.time, 'perf_counter', lambda: clock['wall'])
    monkeypatch.setattr(paired.time, 'process_time', lambda: clock['cpu'])
    calls = []

    def step(name, wall, cpu):
        def run():
            calls.append(name)
            clock['wall'] += wall
            clock['cpu'] += cpu

        return run

    times = paired_rounds({'a': step('a', 2, 1), 'b': step('b', 4, 8)}, 3)
    assert calls == ['a', 'b'] * 5  # two rounds do not count
    assert times == {'a': [Seconds(2, 1)] * 3, 'b': [Seconds(4, 8)] * 3}


def test_ratio_is_that_of_the_rounds():
    """A slow round is slow for both."""
    assert ratio([2, 40, 6], [1, 10, 3]) == 2


def test_measures_all_in_one_run(images, tmp_path, monkeypatch):
    fresh = latency._fresh
    monkeypatch.setattr(
        latency,
        '_fresh',
        lambda subject, *rest: (
            fresh(subject, *rest) if subject.way == 'onnxruntime' else (9.5, 1000.0)
        ),
    )
    model = write_stub(tmp_path / 'model.onnx')
    raw = write_stub(tmp_path / 'raw.onnx', kind='raw')
    before = torch.get_num_threads()
    subjects = [
        Subject('file', str(model), 'onnxruntime'),
        Subject('raw', str(raw), 'onnxruntime'),
        Subject('MMDetection', CONFIG, 'MMDetection'),
    ]
    rows, left_out = measure(subjects, images, (64, 64), rounds=2)
    assert torch.get_num_threads() == before
    assert [row.name for row in rows] == ['file', 'MMDetection']
    assert list(left_out) == ['raw'] and "'raw' outputs" in left_out['raw']
    assert all(len(row.times) == 2 for row in rows)
    file, mmdetection = rows
    assert file.ratio == 1 and mmdetection.ratio > 1
    assert file.file == model.stat().st_size / 2**20 and mmdetection.file is None
    assert file.peak < 250  # of its own process, not of this one with torch
    assert (mmdetection.start, mmdetection.peak) == (9.5, 1000)
    lines = table(rows).splitlines()
    assert len(lines) == 4 and len({line.count('|') for line in lines}) == 1
    assert lines[3].startswith('| MMDetection |')


@pytest.mark.long
def test_torch_in_a_fresh_process(images):
    """Imports torch and mm* anew: a minute on a busy machine."""
    subject = Subject('MMDetection', CONFIG, 'MMDetection')
    seconds, peak = latency._fresh(subject, images[0], (64, 64), 1)
    assert seconds > 1 and 300 < peak < 3000
    with pytest.raises(UserError, match='failed in a new process.*nowhere.py'):
        latency._fresh(Subject('a', 'nowhere.py', 'folded'), images[0], (64, 64), 1)


def test_first_detection_says_when_it_is_there(images, capsys, monkeypatch):
    monkeypatch.setattr(torch, 'set_num_threads', lambda count: None)
    subject = Subject('MMDetection', CONFIG, 'MMDetection')
    latency.first_detection(json.dumps(asdict(subject)), str(images[0]), '[64, 96]')
    assert capsys.readouterr().out.splitlines()[-1] == 'detected'


def test_table_names_percentiles():
    times = [Seconds(wall / 1000, 0.002) for wall in range(1, 102)]
    line = table([Row('a', times, 0.5, 1.25, 99.6, 3.0)]).splitlines()[-1]
    assert line == (
        '| a | 51.0 | 91.0 | 100.0 | 19.61 | 2.0 | 0.500 | 1.25 | 100 | 3.0 |'
    )


@pytest.fixture(scope='module')
def models():
    return {}


@pytest.mark.parametrize('way', ['MMDetection', 'bfloat16', 'torch.compile'])
def test_ways_of_torch_detect_what_mmdetection_does(images, way, models, monkeypatch):
    monkeypatch.setattr(torch, 'compile', lambda f: f)  # takes minutes
    cfg = Config.fromfile(CONFIG)
    preprocess, run = latency._prepare_and_run(
        Subject(way, CONFIG, way), (64, 96), 1, models
    )
    assert len(models) == 1  # the ways share it
    model = next(iter(models.values()))
    inputs = prepare([cv2.imread(str(images[0]))], preprocess)[0]
    assert inputs.shape == (1, 3, 96, 64)
    own = cfg.model.data_preprocessor
    assert preprocess['mean'] == own.mean and preprocess['bgr_to_rgb'] is own.bgr_to_rgb
    (found,) = run(inputs)
    with torch.no_grad():
        maps = model(torch.from_numpy(inputs), mode='tensor')
    assert len(found.pred_instances.scores) <= cfg.model.test_cfg.max_per_img
    assert all(torch.isfinite(level).all() for group in maps for level in group)
    if way == 'bfloat16':
        assert found.pred_instances.bboxes.isfinite().all()


def test_nothing_to_measure_is_an_error(images, tmp_path):
    raw = write_stub(tmp_path / 'raw.onnx', kind='raw')
    with pytest.raises(UserError, match="nothing could be measured: .*'raw' outputs"):
        measure([Subject('raw', str(raw), 'onnxruntime')], images, (64, 64), 1)


def test_preprocessing_of_a_file_is_its_own(images, tmp_path):
    model = write_stub(tmp_path / 'model.onnx', dict(inside=True))
    preprocess, run = latency._prepare_and_run(
        Subject('file', str(model), 'onnxruntime'), (64, 96), 1, {}
    )
    inputs = prepare([cv2.imread(str(images[0]))], preprocess)[0]
    assert inputs.dtype == np.uint8 and inputs.shape == (1, 3, 96, 64)
    expected = Detector(model).run(inputs)
    for ours, theirs in zip(run(inputs), expected):
        np.testing.assert_array_equal(ours, theirs)
    assert json.dumps(preprocess)  # compared as text
