"""A training whose numbers go wrong stops, says where, and spoils nothing."""

import errno
import json
import math
import os
import socket
from functools import partial
from itertools import count
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import torch.multiprocessing as mp
from killing import differences
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from small_runs import box, coco, small_run, write_data
from torch import nn

import tresnet_det  # noqa: F401  registers the hook
from tresnet_det.training.hooks import NonFiniteError
from tresnet_det.weights.safe_globals import load

NUMBER = count()  # MMEngine keeps loggers by the experiment's name


class Toy(BaseModel):
    """Two layers; what a sample's `trick` says goes wrong."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(2, 3)
        self.norm = nn.BatchNorm1d(3)
        self.second = nn.Linear(3, 1)

    def forward(self, inputs, data_samples, mode):
        if mode == 'predict':
            return data_samples
        x = torch.stack(inputs)
        hidden = self.norm(self.first(x))
        loss = self.second(hidden).square().mean()
        tricks = {word for sample in data_samples for word in sample.trick.split()}
        if 'gradient' in tricks:  # the root of 0 has no finite slope
            loss = loss + (0 * hidden.square().sum()).sqrt()
        if 'huge' in tricks:
            loss = loss * 1e6
        if 'loss' in tricks:
            loss = loss + torch.tensor(torch.inf)
        if 'both' in tricks:
            loss = loss * math.nan
        if 'large' in tricks:
            loss = loss * 1e30
        if 'statistics' in tricks:  # which the loss does not show
            self.norm.running_var.data.fill_(math.inf)
        return dict(loss=loss)


def batches(tricks, size):
    """Some images for each trick."""
    return [
        dict(
            inputs=torch.full(
                (2,), torch.inf if trick == 'input' and not place else place + 0.1 * k
            ),
            data_samples=BaseDataElement(
                metainfo=dict(
                    img_id=10 * k + place, img_path=f'{k}_{place}.png', trick=trick
                )
            ),
        )
        for k, trick in enumerate(tricks)
        for place in range(size)
    ]


def run(
    tmp_path,
    tricks,
    epochs=2,
    hook=None,
    optim=None,
    checkpoint=None,
    size=2,
    train_cfg=None,
    **options,
):
    runner = Runner(
        Toy(),
        str(tmp_path),
        train_dataloader=dict(
            dataset=batches(tricks, size),
            batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=train_cfg or dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(dict(optimizer=dict(type='SGD', lr=0.1)), **(optim or {})),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', **(checkpoint or {}))
        ),
        custom_hooks=[
            dict(type='StopOnNonFiniteHook', **(hook or {})),
            dict(type='EMAHook'),
        ],
        env_cfg=dict(dist_cfg=dict(backend='gloo')),
        experiment_name=f'{tmp_path.name}_{next(NUMBER)}',
        **options,
    )
    error = None
    try:
        runner.train()
    except NonFiniteError as stopped:
        error = str(stopped)
    return runner, error


def diagnosis(tmp_path, rank=0):
    (file,) = tmp_path.glob(f'*/nonfinite_iter_*_rank_{rank}.json')
    return file, json.loads(
        file.read_text(), parse_constant=pytest.fail
    )  # strict: no NaN


def all_finite(value):
    if isinstance(value, torch.Tensor):
        return bool(value.isfinite().all())
    return all(map(all_finite, value.values())) if isinstance(value, dict) else True


def test_nothing_happens_where_all_is_well(tmp_path):
    runner, error = run(tmp_path, ['', '', ''])
    assert error is None and runner.iter == 6
    assert not list(tmp_path.glob('*/nonfinite*'))
    step = runner.optim_wrapper.optimizer.step
    assert 'nonfinite' not in step.__code__.co_filename


@pytest.mark.parametrize('clip_grad', [None, dict(max_norm=1.0)])
@pytest.mark.parametrize(
    'trick, reason, first',
    [
        ('input', 'gradients are not finite', 'the output of data_preprocessor'),
        ('gradient', 'gradients are not finite', 'the gradient by the output of norm'),
        ('loss', 'the loss is not finite (inf)', 'the value of loss'),
    ],
)
def test_stop_and_diagnosis(tmp_path, trick, reason, first, clip_grad):
    runner, error = run(tmp_path, ['', '', trick, ''], optim=dict(clip_grad=clip_grad))
    file, found = diagnosis(tmp_path)
    assert '\n' not in error and str(file) in error and reason in error
    assert 'stopped at iteration 3' in error and 'images: 20, 21' in error
    assert f'first not finite: {first};' in error
    assert found['first'] == first and found['iteration'] == 3
    assert found['images'] == [
        dict(img_id=20, img_path='2_0.png'),
        dict(img_id=21, img_path='2_1.png'),
    ]
    assert list(found['outputs']) == ['data_preprocessor', 'first', 'norm', 'second']
    assert list(found['parameter_gradients']) == [
        name for name, _ in runner.model.named_parameters()
    ]
    weights = runner.model.first.weight
    if trick != 'loss':  # where the gradient was good, the step was taken
        assert found['parameters']['first.weight'] == pytest.approx(
            weights.norm().item(), rel=1e-5
        )
    batch = torch.load(file.with_suffix('.pth'), weights_only=True)
    assert [s['img_id'] for s in batch['data_samples']] == [20, 21]
    assert len(batch['inputs']) == 2
    # Two steps were taken: the weights are what they were after them.
    assert weights.isfinite().all()
    assert not list(tmp_path.glob('*.pth'))


def test_gradients_stop_before_the_step(tmp_path):
    before, _ = run(tmp_path / 'good', ['', ''], epochs=1)
    after, error = run(tmp_path / 'bad', ['', '', 'gradient'], epochs=1)
    assert error
    for kept, good in zip(after.model.parameters(), before.model.parameters()):
        assert torch.equal(kept, good)


def test_last_good_checkpoint_is_left_alone(tmp_path):
    """The one kept checkpoint is deleted before the next is written: the
    stop comes first, weights and averages alike."""
    error = run(
        tmp_path,
        ['huge'],
        optim=dict(optimizer=dict(type='SGD', lr=1e38)),
        param_scheduler=dict(type='ConstantLR', factor=1e-39, end=1),
        checkpoint=dict(interval=1, max_keep_ckpts=1),
    )[1]
    assert 'stopped at iteration 2' in error
    names = [path.name for path in tmp_path.glob('*.pth')]
    assert names == ['epoch_1.pth']
    saved = load(tmp_path / names[0])
    assert all_finite(saved['state_dict'])
    assert all_finite(saved['ema_state_dict'])


@pytest.mark.parametrize('by_epoch', [True, False])
def test_bad_weights_are_never_written(tmp_path, by_epoch):
    """A finite gradient times a huge rate: only the weights are infinite."""
    error = run(
        tmp_path,
        ['huge'],
        epochs=1,
        optim=dict(optimizer=dict(type='SGD', lr=1e38)),
        checkpoint=dict(interval=1, by_epoch=by_epoch),
    )[1]
    assert 'weights and running statistics are not finite (first.' in error
    assert not list(tmp_path.glob('*.pth'))


ITERATIONS = dict(type='IterBasedTrainLoop', max_iters=5)


@pytest.mark.parametrize('train_cfg', [None, ITERATIONS])
@pytest.mark.parametrize(
    'checkpoint, kept',
    [
        (dict(interval=2), 'iter_4.pth'),  # and the last iteration's
        (dict(interval=2, save_begin=1, save_last=False), 'iter_3.pth'),
    ],
)
def test_each_iteration_that_saves_is_looked_at(tmp_path, train_cfg, checkpoint, kept):
    error = run(
        tmp_path,
        ['', '', '', '', 'statistics'],
        epochs=1,
        train_cfg=train_cfg,
        checkpoint=dict(checkpoint, by_epoch=False, max_keep_ckpts=1),
    )[1]
    assert 'iteration 5' in error and '(norm.running_var)' in error
    assert [path.name for path in tmp_path.glob('*.pth')] == [kept]


class Perfect(BaseMetric):
    """A first figure is the best so far, whatever the weights are."""

    def process(self, data_batch, data_samples):
        self.results.append(None)

    def compute_metrics(self, results):
        return dict(AP=1.0)


@pytest.mark.parametrize('trick', ['', 'statistics'])
def test_bad_weights_are_never_the_best(tmp_path, trick):
    error = run(
        tmp_path,
        ['', trick, ''],
        train_cfg=dict(ITERATIONS, val_interval=2),
        val_cfg=dict(),
        val_dataloader=dict(
            dataset=batches([''], 2),
            batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        ),
        val_evaluator=Evaluator(Perfect()),
        checkpoint=dict(interval=9, save_best='AP', rule='greater', by_epoch=False),
    )[1]
    assert bool(error) == bool(trick) != bool([*tmp_path.glob('best_*.pth')])


def test_too_large_is_told_from_not_finite(tmp_path):
    error = run(tmp_path, ['large'])[1]
    assert 'the gradients are too large, their norm is not finite' in error


def test_full_disk_hides_no_reason(tmp_path):
    full = OSError(errno.ENOSPC, 'No space left on device')
    with patch('tresnet_det.training.hooks.nonfinite.written_whole', side_effect=full):
        error = run(tmp_path, ['loss'])[1]
    assert 'the loss is not finite (inf); first not finite: the value' in error
    assert 'could not be written whole ([Errno 28] No space left' in error


@pytest.fixture(params=[False, True], ids=['', 'fused'])
def amp_on_cpu(monkeypatch, request):
    """MMEngine offers AMP on accelerators only; torch scales on a CPU too."""
    if not hasattr(torch.amp, 'GradScaler'):
        pytest.skip('torch 2.1 and 2.2 scale losses on CUDA alone')
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(
        amp_optimizer_wrapper, 'GradScaler', partial(torch.amp.GradScaler, 'cpu')
    )
    return dict(
        type='AmpOptimWrapper', optimizer=dict(type='SGD', lr=0.1, fused=request.param)
    )


def test_scaler_may_skip_some_steps(tmp_path, amp_on_cpu):
    tricks = ['gradient', 'gradient', '', 'gradient', 'gradient', '']
    runner, error = run(
        tmp_path, tricks, hook=dict(max_skipped_steps=3), optim=amp_on_cpu
    )
    assert error is None and runner.iter == 12
    assert runner.optim_wrapper.loss_scaler.get_scale() == 2.0 ** (16 - 8)


@pytest.mark.parametrize('trick', ['gradient', 'loss'])
def test_scaler_may_not_skip_for_ever(tmp_path, amp_on_cpu, trick):
    _, error = run(
        tmp_path, ['', *[trick] * 9], optim=amp_on_cpu, hook=dict(max_skipped_steps=4)
    )
    if trick == 'gradient':
        assert '4 steps in succession were skipped' in error
        assert 'iteration 5' in error and 'images: 40, 41' in error
    else:  # a finite gradient: the scaler took the step
        assert 'the loss is not finite (inf)' in error


def test_steps_are_counted_not_iterations(tmp_path, amp_on_cpu):
    """Between two updates no step can be skipped, nor taken."""
    error = run(
        tmp_path,
        ['', '', *['gradient'] * 10],
        optim=dict(amp_on_cpu, accumulative_counts=2),
        hook=dict(max_skipped_steps=4),
    )[1]
    assert 'iteration 10' in error and '4 steps in succession' in error


def test_scaler_judges_what_was_accumulated(tmp_path, amp_on_cpu):
    """A bad loss between two updates is no other than at an update."""
    accumulating = dict(amp_on_cpu, accumulative_counts=2)
    runner, error = run(
        tmp_path / '1', ['', '', 'both', '', '', 'both'], epochs=1, optim=accumulating
    )
    assert error is None
    assert runner.optim_wrapper.loss_scaler.get_scale() == 2.0 ** (16 - 2)
    runner, error = run(
        tmp_path / '2', ['', '', 'loss', '', '', ''], epochs=1, optim=accumulating
    )
    assert 'iteration 3: the loss is not finite (inf)' in error
    assert 'images: 20, 21' in error and runner.iter == 3  # the fourth's


def test_skipped_step_may_have_to_save(tmp_path, amp_on_cpu):
    error = run(
        tmp_path,
        ['', 'gradient statistics', ''],
        optim=amp_on_cpu,
        checkpoint=dict(interval=2, by_epoch=False),
    )[1]
    assert 'iteration 2' in error and '(norm.running_var)' in error
    assert not list(tmp_path.glob('*.pth'))


def test_resuming_with_skipped_steps(tmp_path, amp_on_cpu):
    """The scale and what counts towards it are in the checkpoint."""
    # Not in the first update: torch's fused SGD has no momentum then, and
    # leaves what was in the memory.
    tricks = ['', '', 'both', '', '', '', '', '']
    optim = dict(
        amp_on_cpu,
        accumulative_counts=2,
        optimizer=dict(amp_on_cpu['optimizer'], momentum=0.9),
        loss_scale=dict(init_scale=2.0**10, growth_interval=3),
    )
    options = dict(
        optim=optim,
        train_cfg=dict(ITERATIONS, max_iters=12),
        checkpoint=dict(interval=6, by_epoch=False),
    )
    assert not run(tmp_path / 'whole', tricks, **options)[1]
    first = tmp_path / 'whole' / 'iter_6.pth'
    scales = [
        load(path)['optimizer']['loss_scaler']
        for path in (first, first.with_name('iter_12.pth'))
    ]
    assert scales[0]['scale'] == 2.0**9 and scales[0] != scales[1]
    assert not run(
        tmp_path / 'resumed', tricks, load_from=str(first), resume=True, **options
    )[1]
    names, count = differences(
        *(tmp_path / name / 'iter_12.pth' for name in ('whole', 'resumed'))
    )
    assert not names and count > 10


def test_poisoned_statistics_stop_at_once(tmp_path, amp_on_cpu):
    error = run(tmp_path, ['', 'input', '', ''], optim=amp_on_cpu)[1]
    assert 'iteration 2' in error and '(norm.running_mean' in error


def test_accumulated_gradients_name_the_right_batch(tmp_path):
    error = run(
        tmp_path, ['', 'input', '', '', '', ''], optim=dict(accumulative_counts=3)
    )[1]
    assert 'the loss is not finite (nan)' in error and '10, 11' in error


def test_random_numbers_are_those_of_the_step(tmp_path, monkeypatch):
    """A layer that fails for some draws fails again in the diagnosis."""

    def forward(model, inputs, data_samples, mode):
        x = model.first(torch.stack(inputs))
        draws.append(torch.rand(1).item())
        return dict(loss=(x * (math.nan if draws[-1] > 0.7 else 1)).sum())

    draws = []
    monkeypatch.setattr(Toy, 'forward', forward)
    error = run(tmp_path, [''] * 20)[1]
    assert draws[-1] == draws[-2] > 0.7 and error


def test_failure_in_the_diagnosis_hides_nothing(tmp_path, monkeypatch):
    def forward(model, inputs, data_samples, mode):
        calls.append(mode)
        if len(calls) > 1:
            raise RuntimeError('out of memory')
        return dict(loss=model.first(torch.stack(inputs)).sum() * math.nan)

    calls = []
    monkeypatch.setattr(Toy, 'forward', forward)
    error = run(tmp_path, [''])[1]
    assert 'the gradients are not finite' in error
    assert diagnosis(tmp_path)[1]['failure'] == 'RuntimeError: out of memory'


def _one_of_two(rank, port, folder):
    torch.cuda.set_device = lambda device: None  # MMEngine asks for a GPU
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )
    torch.set_num_threads(1)
    # Images go to the processes in turn.
    error = run(
        folder,
        ['', '', '', 'loss'],
        size=1,
        launcher='pytorch',
        cfg=dict(
            model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None)
        ),
    )[1]
    (folder / f'{rank}.txt').write_text(error or '')


def test_all_processes_stop(tmp_path):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    mp.start_processes(
        _one_of_two, (port, tmp_path), nprocs=2, start_method='fork'
    )  # nothing is imported again
    told = {(tmp_path / f'{rank}.txt').read_text() for rank in range(2)}
    assert len(told) == 1 and 'rank_1.json' in told.pop()
    assert diagnosis(tmp_path, 0)[1]['first'] is None
    assert diagnosis(tmp_path, 1)[1]['first'] == 'the value of loss'


class Spoil(Hook):
    """Makes something of a detector infinite in the second iteration."""

    def __init__(self, name, what):
        self.name, self.what = name, what

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 1:
            weight = runner.model.get_parameter(self.name)
            if self.what == 'gradient':
                weight.register_hook(lambda gradient: gradient * math.inf)
            else:
                weight.data.fill_(math.inf)


@pytest.mark.parametrize('detector', ['fcos', 'faster_rcnn'])
@pytest.mark.parametrize(
    'layer, what',
    [
        ('backbone.layer2.0.conv1', 'output'),
        ('neck.fpn_convs.1.conv', 'output'),
        ('backbone.layer3.0.bn1', 'gradient'),
    ],
)
def test_first_layer_of_a_detector(tmp_path, detector, layer, what):
    root = write_data(
        tmp_path / 'data',
        coco([box(k, 10, 10, 30, 30) for k in (1, 2, 3, 4)], num_images=4),
    )
    runner = small_run(
        detector,
        root,
        tmp_path / 'run',
        custom_hooks=[dict(type='StopOnNonFiniteHook')],
    )
    name = f'{layer}.weight'
    runner.register_hook(Spoil(name, what))
    with pytest.raises(NonFiniteError, match='stopped at iteration 2') as stop:
        runner.train()
    first = (
        f'the output of {layer}' if what == 'output' else (f'the gradient of {name}')
    )
    assert f'first not finite: {first};' in str(stop.value)
    found = diagnosis(Path(runner.work_dir))[1]
    assert found['failure'] is None
    assert {image['img_id'] for image in found['images']} < {1, 2, 3, 4}
    layers = list(found['outputs'])
    assert layers.index('backbone.conv1') < layers.index('backbone.layer4')
    assert set(found['parameters']) == {
        name for name, _ in runner.model.named_parameters()
    }
