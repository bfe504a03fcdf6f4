"""The runner of our configs stops before it spends time on wrong names."""

from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmdet.registry import RUNNERS
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop
from small_runs import box, coco, small_run, write_data

import tresnet_det  # noqa: F401
from tresnet_det.data.demo_data import CATEGORIES, make_demo_data
from tresnet_det.training.hooks import IterationSeedHook, WholeCheckpointHook
from tresnet_det.training.runner.loops import ResumableTrainLoop
from tresnet_det.training.runner.resumable import ResumableRunner
from tresnet_det.training.seeding import NumberedBatches

CONFIG = Path(__file__).parents[2] / 'configs/demo/fcos_tresnet-m_fpn_demo.py'
NAMES = list(CATEGORIES)


@HOOKS.register_module()
class OwnHook(CheckpointHook):
    """A user's own, which stays."""


@pytest.fixture
def run(tmp_path, monkeypatch):
    make_demo_data(tmp_path / 'data', num_train=2, num_val=1)
    monkeypatch.setenv('DEMO_DATA', str(tmp_path / 'data'))

    def build_and_call(method, splits, classes, **options):
        cfg = Config.fromfile(CONFIG)
        cfg.merge_from_dict(dict(work_dir=str(tmp_path / 'run'), **options))
        small = dict(depths=(1, 1, 1, 1), width=8)
        cfg.model.backbone.arch = small
        cfg.model.neck.in_channels = [8, 16, 128, 256]
        for split in splits:
            cfg[f'{split}_dataloader'].dataset.metainfo.classes = classes
        # The weights, the first thing that can take long, stay untouched.
        with (
            patch(
                'mmengine.runner.Runner._init_model_weights',
                side_effect=InterruptedError,
            ),
            patch(
                'mmengine.runner.Runner.load_or_resume', side_effect=InterruptedError
            ),
        ):
            getattr(RUNNERS.build(cfg), method)()

    return build_and_call


@pytest.mark.parametrize(
    'method, splits', [('train', ['train']), ('train', ['val']), ('test', ['test'])]
)
@pytest.mark.parametrize(
    'classes',
    [
        ['ball', *NAMES[1:]],  # one label would vanish, the others shift
        ['ball'],  # no name fits: MMDetection's own message is about arrays
        NAMES[:5],
        [*NAMES, 'moon'],
        NAMES[::-1],
    ],
)
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


@pytest.fixture
def build(run, tmp_path):
    """Builds the demo's runner with options, up to its training loop."""

    def build_runner(**options):
        cfg = Config.fromfile(CONFIG)
        cfg.merge_from_dict(
            dict(
                work_dir=str(tmp_path / 'run'), experiment_name=str(options), **options
            )
        )
        with patch(  # not needed
            'mmengine.runner.Runner.build_model', return_value=torch.nn.Identity()
        ):
            runner = RUNNERS.build(cfg)
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        return runner

    return build_runner


@pytest.mark.parametrize(
    'options, hook, loop',
    [
        ({}, WholeCheckpointHook, ResumableTrainLoop),
        (
            {
                'train_cfg.type': 'mmengine.EpochBasedTrainLoop',
                'default_hooks.checkpoint.type': 'mmengine.CheckpointHook',
            },
            WholeCheckpointHook,
            ResumableTrainLoop,
        ),
        (
            {'train_cfg': dict(_delete_=True, by_epoch=True, max_epochs=1)},
            WholeCheckpointHook,
            ResumableTrainLoop,
        ),
        (
            {'train_cfg': dict(_delete_=True, type='IterBasedTrainLoop', max_iters=1)},
            WholeCheckpointHook,
            IterBasedTrainLoop,
        ),
        ({'default_hooks.checkpoint.type': 'OwnHook'}, OwnHook, ResumableTrainLoop),
    ],
)
def test_ours_in_place_of_mmengines(build, options, hook, loop):
    runner = build(**options)
    assert {type(one) for one in runner.hooks if isinstance(one, CheckpointHook)} == {
        hook
    }
    assert sum(isinstance(one, IterationSeedHook) for one in runner.hooks) == 1
    assert type(runner._train_loop) is loop
    assert isinstance(runner.train_dataloader.batch_sampler, NumberedBatches)


def test_a_given_checkpoint_that_is_damaged_is_an_error(build, tmp_path):
    (tmp_path / 'cut.pth').write_bytes(b'PK')
    with pytest.raises(ValueError, match='cut.pth.* is damaged'):
        build(resume=True, load_from=str(tmp_path / 'cut.pth'))


def test_rates_are_scaled_by_the_batch(tmp_path):
    """The loader that we build tells no batch size."""
    data = write_data(tmp_path / 'data', coco([box(1, 10, 10, 30, 30)]))
    runner = small_run(
        'fcos',
        data,
        tmp_path / 'run',
        **{
            'auto_scale_lr': dict(enable=True, base_batch_size=16),
            'train_cfg.max_epochs': 1,
            'param_scheduler': None,
            'optim_wrapper.optimizer.lr': 1e-3,
        },
    )
    runner.train()
    groups = runner.optim_wrapper.optimizer.param_groups
    assert {
        group['initial_lr'] if 'initial_lr' in group else group['lr']
        for group in groups
    } <= {1e-3 * 2 / 16, 2e-3 * 2 / 16}


def test_resuming_needs_no_pretrained_file(tmp_path):
    data = write_data(tmp_path / 'data', coco([box(1, 10, 10, 30, 30)]))
    small_run('fcos', data, tmp_path / 'run', **{'train_cfg.max_epochs': 1}).train()
    gone = {
        'model.backbone.init_cfg': dict(
            type='Pretrained', checkpoint=str(tmp_path / 'gone.pth')
        )
    }
    resumed = small_run('fcos', data, tmp_path / 'run', resume=True, **gone)
    resumed.train()
    assert resumed.epoch == 2
    with pytest.raises(ValueError, match='gone.pth'):
        small_run('fcos', data, tmp_path / 'other', **gone).train()


def test_nothing_to_resume_begins(build):
    assert not build(resume=True)._resume


def test_seed_is_that_of_the_checkpoint(build, tmp_path):
    torch.save(dict(meta=dict(seed=7)), tmp_path / 'seed.pth')
    for seed in (None, 3):
        runner = build(
            resume=True,
            load_from=str(tmp_path / 'seed.pth'),
            **{'randomness.seed': seed},
        )
        assert runner.seed == 7
        assert runner.train_dataloader.batch_sampler.sampler.seed == 7


@pytest.mark.parametrize('differ', [False, True])
def test_processes_draw_the_same_data(build, differ):
    """The model's draws differ where MMEngine is told so."""
    drawn, seeds = set(), set()
    for rank in range(2):
        with (
            patch('mmengine.runner.utils.get_rank', return_value=rank),
            patch('tresnet_det.training.runner.resumable.get_rank', return_value=rank),
        ):
            runner = build(
                **{'randomness.diff_rank_seed': differ, 'randomness.seed': 5}
            )
        loader = runner.train_dataloader
        seeds |= {
            loader.batch_sampler.sampler.seed,
            loader.dataset.__getitems__.args[1],
        }
        IterationSeedHook().before_train_iter(runner, 0)
        drawn.add(torch.rand(()).item())
    assert seeds == {5} and len(drawn) == 1 + differ


def _one_of_two(rank, folder):
    dist.init_process_group(
        'gloo', rank=rank, world_size=2, init_method=f'file://{folder}/meeting'
    )
    runner = ResumableRunner.__new__(ResumableRunner)
    runner.__dict__.update(
        _resume=True, _work_dir=str(folder), _load_from=str(folder / 'cut.pth')
    )
    with pytest.raises(ValueError) as error:
        runner._choose_checkpoint()
    (folder / f'{rank}.txt').write_text(str(error.value))
    dist.destroy_process_group()


def test_all_processes_are_refused_a_damaged_checkpoint(tmp_path):
    """Alone, one leaves the others waiting until a time runs out."""
    (tmp_path / 'cut.pth').write_bytes(b'PK')
    mp.start_processes(_one_of_two, (tmp_path,), nprocs=2, start_method='fork')
    texts = {(tmp_path / f'{rank}.txt').read_text() for rank in range(2)}
    assert len(texts) == 1 and 'cut.pth, which is damaged' in texts.pop()


def test_other_places_than_disks_are_written_by_mmengine(build):
    runner = build()
    backend_args = dict(backend='http')  # any that is no LocalBackend
    with patch('mmengine.runner.Runner.save_checkpoint') as save:
        runner.save_checkpoint(
            'http://a/b', 'c.pth', by_epoch=False, backend_args=backend_args
        )
    save.assert_called_once_with(
        'http://a/b',
        'c.pth',
        by_epoch=False,
        file_client_args=None,
        backend_args=backend_args,
    )
