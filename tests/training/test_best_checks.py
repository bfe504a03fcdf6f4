"""The figures that are said to come are those that come."""

from types import SimpleNamespace

import pytest
from mmdet.evaluation.metrics import CocoMetric
from mmengine.hooks import CheckpointHook, Hook
from small_runs import box, coco, small_run, write_data

from tresnet_det import UserError
from tresnet_det.training.runner.best_checks import check_save_best, coco_figures_of

BEST = ['coco/other_precision', 'coco/AR@100', 'val_loss_cls', 'coco/bbox_mAP']
KINDS = ['bbox', 'proposal']


def test_an_evaluation_gives_these_figures(tmp_path):
    classes = ('thing', 'other')
    data = write_data(
        tmp_path / 'data',
        coco([box(1, 5, 5, 30, 30), box(2, 9, 9, 30, 30, category=2)], classes),
    )
    runner = small_run(
        'fcos',
        data,
        tmp_path / 'run',
        classes,
        **{
            'val_evaluator.metric': KINDS,
            'val_evaluator.classwise': True,
            'train_cfg.max_epochs': 1,
            'train_cfg.val_interval': 1,
            'default_hooks.checkpoint.save_best': BEST,
            'default_hooks.checkpoint.rule': 'greater',
            'custom_hooks': [dict(type='ValLossHook')],
        },
    )
    runner.train()
    found = {
        name.removeprefix('val/')
        for name in runner.message_hub.log_scalars
        if name.startswith('val/coco')
    }
    (metric,) = runner.val_evaluator.metrics
    assert {*coco_figures_of(metric)} == found
    assert len([*(tmp_path / 'run').glob('best_*_AR@100_*.pth')]) == 1


def test_recalls():
    """Of 'proposal_fast', which fails itself in the pinned stack."""
    metric = CocoMetric(metric='proposal_fast', proposal_nums=(1, 10, 100))
    assert coco_figures_of(metric) == ['coco/AR@1', 'coco/AR@10', 'coco/AR@100']


class OwnHook(Hook):
    """May add what is not known here."""

    def after_val_epoch(self, runner, metrics=None):
        metrics['nonsense'] = 1


@pytest.mark.parametrize(
    'hooks, metrics, refused',
    [
        ([], None, True),
        ([OwnHook()], None, False),
        ([], [object()], False),
        ([], [], False),
    ],
)
def test_only_where_all_figures_are_known(hooks, metrics, refused):
    if metrics is None:
        metrics = [CocoMetric(metric='bbox')]
    loop = SimpleNamespace(evaluator=SimpleNamespace(metrics=metrics))
    best = CheckpointHook(save_best='nonsense', rule='less')
    if refused:
        with pytest.raises(UserError, match="'nonsense' .* coco/bbox_mAP"):
            check_save_best([best, *hooks], loop)
    else:
        check_save_best([best, *hooks], loop)
    check_save_best([CheckpointHook(save_best='auto'), *hooks], loop)
