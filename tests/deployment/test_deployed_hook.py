"""Evaluation with the folded network gives the same figures and detections."""

import json

import pytest
import torch
from mmengine.hooks import Hook
from small_runs import box, coco, small_run, write_data
from torch.nn.modules.batchnorm import _BatchNorm


class Norms(Hook):
    """Counts the norms that an image passes in the test."""

    priority = 'LOWEST'
    found = None

    def before_test_iter(self, runner, batch_idx, data_batch=None):
        self.found = sum(isinstance(m, _BatchNorm) for m in runner.model.modules())


def evaluate(root, folder, weights, hooks):
    runner = small_run(
        'fcos',
        root,
        folder,
        **{
            'custom_hooks': hooks,
            'test_evaluator.outfile_prefix': str(folder / 'found'),
        },
    )
    norms = Norms()
    runner.register_hook(norms)
    runner.model.load_state_dict(weights)
    figures = runner.test()
    assert any(isinstance(m, _BatchNorm) for m in runner.model.modules())
    return figures, json.loads((folder / 'found.bbox.json').read_text()), norms.found


def test_same_figures_and_detections(tmp_path):
    root = write_data(
        tmp_path / 'data', coco([box(1, 10, 10, 30, 30), box(2, 5, 20, 40, 20)])
    )
    runner = small_run('fcos', root, tmp_path / 'train')
    runner.train()
    weights = runner.model.state_dict()
    for name, value in weights.items():  # norms that do something
        if name.endswith('running_var'):
            value.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(0))
    ema = dict(type='EMAHook')
    for hooks in ([], [ema]):
        plain = evaluate(root, tmp_path / f'plain{len(hooks)}', weights, hooks)
        folded = evaluate(
            root,
            tmp_path / f'folded{len(hooks)}',
            weights,
            [*hooks, dict(type='DeployedHook')],
        )
        assert plain[2] > 0 and folded[2] == 0
        assert folded[0] == pytest.approx(plain[0], abs=1e-3)
        assert len(folded[1]) == len(plain[1]) > 0
        for one, other in zip(folded[1], plain[1]):
            assert one['score'] == pytest.approx(other['score'], abs=1e-4)
