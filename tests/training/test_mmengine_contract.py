"""What callers of mmengine's runner rely on holds for ours."""

import builtins
import json
from unittest.mock import patch

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.visualization import TensorboardVisBackend
from test_changed_config import BASE

from tresnet_det import CheckedRunner, CheckpointError, UserError
from tresnet_det.training.runner.building import building
from tresnet_det.training.runner.loops import ResumableTrainLoop
from tresnet_det.training.runner.visual_checks import check_backends


@pytest.fixture
def build(tmp_path):
    def built(**options):
        cfg = Config({**BASE, **options})
        cfg.work_dir = str(tmp_path)
        cfg.experiment_name = f'{tmp_path}{options}'
        return CheckedRunner.from_cfg(cfg)

    return built


@pytest.mark.parametrize(
    'error',
    [
        TypeError('a'),
        KeyError('a'),
        FileNotFoundError(2, 'a', 'b'),
        ImportError('a', name='b'),
        json.JSONDecodeError('a', 'b', 0),
        UnicodeDecodeError('utf-8', b'a', 0, 1, 'b'),
        AssertionError('a'),
        ValueError('a'),
        RuntimeError('a'),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_are_of_both_kinds(error):
    with pytest.raises(UserError) as caught, building('model'):
        raise error
    told = caught.value
    assert isinstance(told, type(error)) and told.__cause__ is error
    assert str(told).startswith('the model that the config describes cannot be built: ')
    if isinstance(error, OSError):
        assert (told.errno, told.filename) == (2, 'b')


def test_what_cannot_be_of_both_kinds():
    if not hasattr(builtins, 'ExceptionGroup'):
        pytest.skip('this Python has no kind that needs more than a message')
    with pytest.raises(UserError, match='cannot be built'), building('model'):
        raise ExceptionGroup('a', [ValueError('b')])  # noqa: F821


def test_what_mmengine_raises(build):
    runner = build()
    for method, kind in (
        (runner.build_model, TypeError),
        (runner.build_train_loop, TypeError),
        (runner.build_optim_wrapper, TypeError),
        (runner.build_visualizer, TypeError),
    ):
        with pytest.raises(kind) as error:
            method('of no type')
        assert isinstance(error.value, UserError)
    with pytest.raises(KeyError, match='Nothing'):
        runner.build_model(dict(type='Nothing'))
    for kind in ('EpochBasedTrainLoop', 'IterBasedTrainLoop'):
        with pytest.raises(RuntimeError, match='Only one'):
            runner.build_train_loop(dict(type=kind, by_epoch=True, max_epochs=1))
    loop = runner.build_train_loop(dict(type='EpochBasedTrainLoop', max_epochs=1))
    assert type(loop) is ResumableTrainLoop


def test_priority(build):
    runner = build()
    runner.register_hook(Hook(), priority='LOWEST')
    runner.register_hook(dict(type='EmptyCacheHook'), 'HIGHEST')
    names = [type(hook).__name__ for hook in runner.hooks]
    assert (names[0], names[-1]) == ('EmptyCacheHook', 'Hook')


@pytest.mark.parametrize('asked', [True, False])
def test_loading_in_part_if_asked_for(build, tmp_path, asked):
    weights = dict(state_dict={'one.weight': torch.ones(2, 1)}, meta={})
    torch.save(weights, tmp_path / 'a.pth')
    hook = dict(type='EMAHook', **(dict(strict_load=False) if asked else {}))
    runner = build(custom_hooks=[hook])
    runner.call_hook('before_run')
    if asked:
        runner.load_checkpoint(str(tmp_path / 'a.pth'))
        assert (runner.model.one.weight == 1).all()
        return
    with pytest.raises(CheckpointError, match='3 of 4 weights are missing'):
        runner.load_checkpoint(str(tmp_path / 'a.pth'))


@pytest.mark.parametrize(
    'prefix', ['', 'module._orig_mod.', 'model.', 'ema_model.module.']
)
@pytest.mark.parametrize('key', ['state_dict', 'model', None])
def test_names_and_places_of_weights(build, tmp_path, prefix, key):
    runner = build(custom_hooks=[dict(type='EMAHook')])
    state = {
        prefix + name: torch.full_like(value, 3)
        for name, value in runner.model.state_dict().items()
    }
    torch.save({key: state} if key else state, tmp_path / 'a.pth')
    runner.call_hook('before_run')
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == 'EMAHook')
    runner.load_checkpoint(str(tmp_path / 'a.pth'))
    for model in (runner.model, hook.ema_model.module):
        assert all((value == 3).all() for value in model.state_dict().values())


@pytest.mark.parametrize('kind', ['TensorboardVisBackend', TensorboardVisBackend])
def test_the_package_of_a_visualizer_is_looked_for(kind):
    visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type=kind)])
    with patch(
        'tresnet_det.training.runner.visual_checks.find_spec', return_value=None
    ):
        with pytest.raises(UserError, match='pip install tensorboard'):
            check_backends(visualizer)
        check_backends(dict(vis_backends=[dict(type='LocalVisBackend')]))
        check_backends(dict(vis_backends=None))
        check_backends(None)
    with patch('tresnet_det.training.runner.visual_checks.find_spec'):
        check_backends(visualizer)
