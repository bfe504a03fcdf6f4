"""What the README names exists, and its config trains and predicts."""

import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from one_step import check_one_step_and_one_prediction

from tresnet_det.environment.tested import TESTED

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
MINE = 'configs/mine/'  # the reader's own
NAMED = re.compile(
    r'(?<![\w/$.-])(?:configs|tools|tests|tresnet_det)/[\w./-]*\w\b(?!<)'
)
PATHS = sorted({p for p in NAMED.findall(README) if not p.startswith(MINE)})


@pytest.mark.parametrize('path', PATHS)
def test_path_exists(path):
    assert (ROOT / path).exists()


def test_paths_are_found_at_all():
    assert {'tools/train.py', 'tools/analysis_tools/benchmark.py'} <= set(PATHS)


def test_first_config_trains_and_predicts(tmp_path):
    block = re.search(r'```python\n(_base_ = .*?)```', README, re.S).group(1)
    file = tmp_path / 'config.py'
    file.write_text(block)
    cfg = Config.fromfile(file)
    cfg.model.backbone.init_cfg = None  # the published weights: no network
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    assert model.backbone.out_channels == tuple(cfg.model.neck.in_channels)
    assert cfg.runner_type == 'CheckedRunner'
    check_one_step_and_one_prediction(model, cfg.model.bbox_head.num_classes)


@pytest.mark.parametrize('tested', TESTED, ids=lambda tested: tested.stack)
def test_tested_versions_are_the_doctors(tested):
    assert str(tested) in README
    # Printed by tools/setup/test_stack.py, not said in words.
    assert re.fullmatch(r'\d+ passed, \d+ skipped, \d+ failed', tested.result)
