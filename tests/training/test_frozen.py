"""Frozen stages stay bit for bit what they were, over a whole training."""

import pytest
import torch
from mmengine.hooks import Hook
from small_runs import box, coco, small_run, write_data

from tresnet_det.weights.safe_globals import load

OPTIMIZERS = dict(
    sgd=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=0.1),
    adamw=dict(type='AdamW', lr=0.01, weight_decay=0.1),
)


class Start(Hook):
    """Keeps the weights as the training begins."""

    def before_train(self, runner):
        self.state = {
            name: value.clone() for name, value in runner.model.state_dict().items()
        }


@pytest.mark.parametrize('optimizer', OPTIMIZERS)
@pytest.mark.parametrize('norm_eval', [True, False])
@pytest.mark.parametrize('frozen', [0, 1, 3])
def test_frozen_stages_do_not_move(tmp_path, optimizer, norm_eval, frozen):
    """Neither weights nor running statistics, in the model and in the
    average of it, by weight decay, momentum or evaluation in between."""
    root = write_data(
        tmp_path / 'data',
        coco([box(k, 10, 10, 30, 30) for k in (1, 2, 3, 4)], num_images=4),
    )
    ema = dict(type='EMAHook', update_buffers=True, momentum=0.1)
    runner = small_run(
        'fcos',
        root,
        tmp_path / 'run',
        **{
            'model.backbone.frozen_stages': frozen,
            'model.backbone.norm_eval': norm_eval,
            'custom_hooks': [ema],
            'optim_wrapper.optimizer': dict(OPTIMIZERS[optimizer], _delete_=True),
            'train_cfg.max_epochs': 3,
            'train_cfg.val_interval': 1,
            'default_hooks.checkpoint.interval': 3,
        },
    )
    start = Start()
    runner.register_hook(start)
    runner.train()
    assert runner.iter == 6
    saved = load(tmp_path / 'run' / 'epoch_3.pth')
    parts = ('conv1.', 'bn1.', *(f'layer{k}.' for k in range(1, frozen + 1)))
    prefixes = tuple(f'backbone.{part}' for part in parts)
    for state in (
        saved['state_dict'],
        {  # the average, and the weights
            name.removeprefix('module.'): value
            for name, value in saved['ema_state_dict'].items()
        },
    ):
        moved = {
            name
            for name, value in start.state.items()
            if not torch.equal(value, state[name])
        }
        assert not [name for name in moved if name.startswith(prefixes)]
        parameters = {
            name
            for name, _ in runner.model.named_parameters()
            if not name.startswith(prefixes)
        }
        statistics = {
            name
            for name in start.state
            if 'running_' in name and not name.startswith(prefixes)
        }
        assert parameters <= moved
        assert not statistics & moved if norm_eval else statistics <= moved
