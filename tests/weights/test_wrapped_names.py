"""Names that wrappers made are taken for those of the bare model."""

import pytest
import torch

from tresnet_det import CheckpointError
from tresnet_det.weights.formats import to_ours
from tresnet_det.weights.wrapped_names import fitting_names

WANTED = ['backbone.conv1.weight', 'head.bias']


@pytest.mark.parametrize(
    'prefix, said',
    [
        ('', ''),
        ('module.', ''),
        ('_orig_mod.', ''),
        ('module._orig_mod.', ''),
        ('model.', 'model.'),
        ('ema_model.module.', 'ema_model.'),
        ('state.model._orig_mod.', 'state.model.'),
    ],
)
def test_prefixes(prefix, said):
    state = {prefix + name: name for name in WANTED}
    state['other'] = 'other'
    named, found = fitting_names(state, WANTED)
    assert named == {**dict(zip(WANTED, WANTED)), 'other': 'other'} and found == said
    # The model may be the wrapped one.
    assert fitting_names(named, [f'_orig_mod.{n}' for n in WANTED])[0].keys() >= {
        f'_orig_mod.{n}' for n in WANTED
    }


@pytest.mark.parametrize('wrapper', ['', 'module.', '_orig_mod.', 'module._orig_mod.'])
def test_a_wrapper_around_the_backbone(wrapper):
    state = {
        f'{place}{name}': torch.ones(1, 1, 1, 1)[(0,) * drop]
        for place, name, drop in (
            (f'module.backbone.{wrapper}', 'conv1.weight', 0),
            (f'module.backbone.{wrapper}', 'layer1.0.se.fc1.weight', 0),
            ('module.', 'head.fc.weight', 2),
        )
    }
    found = to_ours(state)
    assert found.state.keys() >= {'conv1.weight', 'head.fc.weight'}
    assert not found.dropped and not found.unexpected


def test_within_the_names():
    named, _ = fitting_names({'backbone._orig_mod.conv1.weight': 1}, WANTED)
    assert named == {'backbone.conv1.weight': 1}


def test_what_fits_somewhere_is_left():
    """A backbone for fine-tuning beside the same model of a teacher."""
    state = {f'teacher.{name}': 1 for name in WANTED} | {WANTED[0]: 2}
    assert fitting_names(state, WANTED) == (state, '')


def test_nothing_fits():
    assert fitting_names({'a.b': 1}, WANTED) == ({'a.b': 1}, '')


def test_the_model_twice():
    state = {f'{who}.{name}': who for name in WANTED for who in ('student', 'teacher')}
    with pytest.raises(CheckpointError, match='student., teacher.'):
        fitting_names(state, WANTED)
    state = {f'{who}.{name}': who for name in WANTED for who in ('model', 'ema_model')}
    named, prefix = fitting_names(state, WANTED)
    assert (
        prefix == 'ema_model.' and [named[name] for name in WANTED] == ['ema_model'] * 2
    )
