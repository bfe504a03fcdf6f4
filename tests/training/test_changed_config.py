"""A run resumed with another config: both values are told, or it is refused."""

import logging
from collections import Counter
from unittest.mock import patch

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from torch import nn

from tresnet_det import CheckedRunner, CheckpointError
from tresnet_det.training.runner.changed_config import (
    changed_keys,
    changed_settings,
    read_config,
)


@MODELS.register_module()
class Line(BaseModel):
    """Two weights, each with a group of its own if the config says so."""

    def __init__(self, width=2):
        super().__init__()
        self.one, self.two = nn.Linear(1, width), nn.Linear(width, 1)

    def forward(self, inputs, mode):
        return dict(loss=self.two(self.one(torch.stack(inputs))).square().mean())


@DATASETS.register_module()
class Numbers(torch.utils.data.Dataset):
    metainfo = {}

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([float(index)]))


SGD = dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0)
STEPS = dict(type='MultiStepLR', by_epoch=True, end=2, milestones=[1], gamma=0.1)
BASE = dict(
    model=dict(type='Line'),
    train_dataloader=dict(
        batch_size=2,
        num_workers=0,
        dataset=dict(type='Numbers'),
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type=pseudo_collate),
    ),
    train_cfg=dict(by_epoch=True, max_epochs=2),
    optim_wrapper=dict(type='OptimWrapper', optimizer=SGD),
    param_scheduler=[STEPS],
    randomness=dict(seed=0),
    default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
)


def trained(folder, resume=None, **options):
    """A run of two epochs, or one that goes on, and what it warned of."""
    cfg = Config({**BASE, **options})
    cfg.work_dir, cfg.experiment_name = str(folder), f'{folder} {options}'
    cfg.load_from, cfg.resume = resume, resume is not None
    with patch.object(MMLogger, 'callHandlers', autospec=True) as calls:
        runner = CheckedRunner.from_cfg(cfg)
        runner.train()
    records = [call.args[1] for call in calls.call_args_list]
    told = [r.getMessage() for r in records if r.levelno >= logging.WARNING]
    return runner, '\n'.join(text for text in told if 'another config' in text)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp('first')
    trained(folder)
    return str(folder / 'epoch_1.pth')


def test_the_same_config_says_nothing(tmp_path, checkpoint):
    assert trained(tmp_path, checkpoint)[1] == ''


LONGER = dict(by_epoch=True, max_epochs=3)


@pytest.mark.parametrize(
    'options, says',
    [
        (
            dict(train_cfg=LONGER),
            ['train_cfg.max_epochs: 3 of the config is used', '2'],
        ),
        (
            dict(param_scheduler=[dict(STEPS, milestones=[3], gamma=0.5, end=4)]),
            [
                '[0].milestones: [1] of the checkpoint is used, the config says [3]',
                '[0].gamma: 0.1 of the checkpoint is used, the config says 0.5',
                '[0].end: 2 of the checkpoint is used, the config says 4',
            ],
        ),
        (
            dict(
                optim_wrapper=dict(
                    type='OptimWrapper',
                    optimizer=dict(SGD, lr=0.5, momentum=0.8, weight_decay=0.1),
                    clip_grad=dict(max_norm=1),
                )
            ),
            [
                'optimizer lr: 0.01 of the checkpoint is used, the config says 0.5',
                'optimizer momentum: 0.9 of the checkpoint is used',
                'optimizer weight_decay: 0.0 of the checkpoint is used',
                "optim_wrapper.clip_grad: {'max_norm': 1} of the config is used, it "
                'was None',
            ],
        ),
        (
            dict(custom_hooks=[dict(type='EMAHook', momentum=0.1)]),
            ["custom_hooks: ['EMAHook'] of the config is used, it was None"],
        ),
        (
            dict(
                train_dataloader=dict(BASE['train_dataloader'], batch_size=4),
                auto_scale_lr=dict(enable=True, base_batch_size=2),
            ),
            [
                'train_dataloader.batch_size: 4 of the config is used, it was 2',
                'optimizer lr: 0.01 of the checkpoint is used, the config says 0.02',
            ],
        ),
    ],
)
def test_both_values_are_told(tmp_path, checkpoint, options, says):
    runner, told = trained(tmp_path, checkpoint, **options)
    for text in (*says, f"load_from = '{checkpoint}'"):
        assert text in told
    # What is told is so: the checkpoint's step came at epoch 1.
    assert runner.optim_wrapper.param_groups[0]['lr'] == pytest.approx(0.001)


@pytest.mark.parametrize(
    'options, says',
    [
        (
            dict(param_scheduler=[dict(type='LinearLR', end=2), STEPS]),
            'schedulers of the config: LinearLR, MultiStepLR, of the checkpoint: Multi',
        ),
        (dict(param_scheduler=None), 'no schedulers, the checkpoint 1'),
        (
            dict(param_scheduler=dict(type='StepLR', step_size=1)),
            'schedulers of the config: StepLR, of the checkpoint: MultiStepLR',
        ),
        (
            dict(optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1))),
            'optimizer of the config: AdamW, of the checkpoint: SGD',
        ),
        (
            dict(
                optim_wrapper=dict(
                    optimizer=SGD, paramwise_cfg=dict(norm_decay_mult=0.0)
                )
            ),
            '4 groups of 4 parameters in all in the config and 1 groups of 4',
        ),
    ],
)
def test_another_training_is_refused(tmp_path, checkpoint, options, says):
    with pytest.raises(CheckpointError, match=r"set load_from = '\S+epoch_1") as error:
        trained(tmp_path, checkpoint, **options)
    assert says in str(error.value)


def test_objects_without_a_config(tmp_path, checkpoint):
    """States alone tell enough, where the file holds no config."""
    content = torch.load(checkpoint)
    content['meta']['cfg'] = 'dict('  # cannot be parsed
    bare = str(tmp_path / 'bare.pth')
    torch.save(content, bare)
    for options, says in (
        (dict(param_scheduler=[STEPS, STEPS]), '2 schedulers'),
        (dict(param_scheduler=dict(type='PolyLR', power=1)), 'eta_min, power'),
        (dict(optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1))), 'betas'),
    ):
        with pytest.raises(CheckpointError, match=says):
            trained(tmp_path, bare, **options)


def test_averaged_weights_are_not_taken_for_trained_ones(tmp_path):
    hook = dict(custom_hooks=[dict(type='EMAHook')])
    runner, _ = trained(tmp_path / 'a', **hook)
    assert any(isinstance(hook, EMAHook) for hook in runner.hooks)
    file = str(tmp_path / 'a' / 'epoch_1.pth')
    assert trained(tmp_path / 'b', file, **hook)[1] == ''
    with pytest.raises(CheckpointError, match='no EMAHook'):
        trained(tmp_path / 'c', file)


def test_one_cycle(tmp_path):
    """Its state names a function, which torch refuses to read."""
    cycle = dict(type='OneCycleLR', eta_max=0.1, total_steps=2)
    trained(tmp_path / 'a', param_scheduler=cycle)
    file = str(tmp_path / 'a' / 'epoch_1.pth')
    assert trained(tmp_path / 'b', file, param_scheduler=cycle)[1] == ''
    cycle.update(eta_max=0.5, total_steps=9)
    told = trained(tmp_path / 'c', file, param_scheduler=cycle)[1]
    assert 'total_steps: 2 of the checkpoint is used, the config says 9' in told


def test_parts_that_are_not_wanted_are_not_compared(tmp_path, checkpoint):
    cfg = Config({**BASE, 'param_scheduler': None})
    cfg.work_dir, cfg.experiment_name = str(tmp_path), 'not wanted'
    cfg.optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.1))
    runner = CheckedRunner.from_cfg(cfg)
    runner.resume(checkpoint, False, resume_param_scheduler=False)
    assert (runner.epoch, runner.iter) == (1, 2)


def test_reading_a_config_runs_nothing(tmp_path):
    text = (
        f'a = dict(b=[1, -2.0, (3, None)], c=__import__("os").mkdir("{tmp_path}/x"))\n'
        "d = {'e-f': 'g'}\nimport os\nh = float('inf')"
    )
    read = read_config(text)
    assert read['a']['b'] == [1, -2.0, [3, None]] and read['d'] == {'e-f': 'g'}
    assert 'mkdir' in read['a']['c'] and not any(tmp_path.iterdir())
    assert read_config('a = dict(') == {}


def test_a_checkpoint_brings_no_program(tmp_path, checkpoint):
    content = torch.load(checkpoint)
    content['meta']['config'] = f'open({str(tmp_path / "made")!r}, "w")'
    torch.save(content, tmp_path / 'a.pth')
    trained(tmp_path / 'run', str(tmp_path / 'a.pth'))
    assert not (tmp_path / 'made').exists()


def test_what_is_the_same():
    new = dict(
        model=dict(type='mmdet.A', init_cfg=None, x=(), y=[dict(type='B', z=1)]),
        train_dataloader=dict(num_workers=2, batch_size=1),
        work_dir='/b',
    )
    old = dict(
        model=dict(type='A', init_cfg=dict(type='Pretrained'), y=[dict(type='B', z=1)]),
        train_dataloader=dict(num_workers=0, batch_size=1),
    )
    assert changed_keys(new, old) == []
    old['model']['y'][0]['z'] = 2
    (line,) = changed_keys(new, old)
    assert line == 'model.y[0].z: 1 of the config is used, it was 2'


def test_progress_is_no_setting():
    groups = [dict(lr=0.1, initial_lr=1.0, params=[0], fused=None)] * 3
    states = [dict(last_step=3, _last_value=[0.1], milestones=Counter([1]), gamma=0.1)]
    fresh = [dict(lr=1.0, params=[0])] * 2 + [dict(lr=2.0, params=[0])]
    start = [dict(last_step=0, _last_value=[1.0], milestones=Counter([2]), gamma=0.1)]
    assert changed_settings(fresh, groups, start, states) == [
        'optimizer lr: 1.0 of the checkpoint is used, the config says 2.0 '
        '(1 of 3 groups of parameters)',
        'param_scheduler[0].milestones: [1] of the checkpoint is used, the config '
        'says [2]',
    ]
