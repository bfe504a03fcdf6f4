"""The runner of our configs stops before it spends time on wrong names."""

from pathlib import Path
from unittest.mock import patch

import pytest
from mmdet.registry import RUNNERS
from mmengine.config import Config

import tresnet_det  # noqa: F401
from tresnet_det.demo_data import CATEGORIES, make_demo_data

CONFIG = Path(__file__).parents[1] / 'configs/demo/fcos_tresnet-m_fpn_demo.py'
NAMES = list(CATEGORIES)


@pytest.fixture
def run(tmp_path, monkeypatch):
    make_demo_data(tmp_path / 'data', num_train=2, num_val=1)
    monkeypatch.setenv('DEMO_DATA', str(tmp_path / 'data'))

    def build_and_call(method, splits, classes, **options):
        cfg = Config.fromfile(CONFIG)
        cfg.merge_from_dict(dict(work_dir=str(tmp_path / 'run'), **options))
        for split in splits:
            cfg[f'{split}_dataloader'].dataset.metainfo.classes = classes
        # The weights, the first thing that can take long, stay untouched.
        with patch('mmengine.runner.Runner._init_model_weights',
                   side_effect=InterruptedError), \
                patch('mmengine.runner.Runner.load_or_resume',
                      side_effect=InterruptedError):
            getattr(RUNNERS.build(cfg), method)()

    return build_and_call


@pytest.mark.parametrize('method, splits', [
    ('train', ['train']), ('train', ['val']), ('test', ['test'])])
@pytest.mark.parametrize('classes', [
    ['ball', *NAMES[1:]],  # one label would vanish, the others shift
    ['ball'],  # no name fits: MMDetection's own message is about arrays
    NAMES[:5], [*NAMES, 'moon'], NAMES[::-1]])
def test_wrong_names_stop_the_run(run, method, splits, classes):
    with pytest.raises(ValueError, match='disagree') as error:
        run(method, splits, classes)
    assert str(classes) in str(error.value)
    assert str(NAMES) in str(error.value)


@pytest.mark.parametrize('method', ['train', 'val', 'test'])
def test_right_names_pass(run, method):
    with pytest.raises(InterruptedError):
        run(method, ['train', 'val', 'test'], NAMES)


def test_subset_on_purpose(run):
    with pytest.raises(InterruptedError):
        run('train', ['train', 'val'], NAMES[:2], allow_class_subset=True)
