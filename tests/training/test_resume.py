"""The newest whole checkpoint is found, and damaged ones are named."""

import os
import zipfile
from unittest.mock import patch

import pytest
import torch
from killing import damage_file

from tresnet_det import UserError
from tresnet_det.training.runner.resume import (
    choose_checkpoint,
    damage,
    find_whole_checkpoint,
    read_seed,
)


@pytest.fixture
def run(tmp_path):
    """A folder with three checkpoints; the newest is not last by name."""
    for age, name in enumerate(
        ['iter_9.pth', 'iter_100.pth', 'epoch_2.pth', 'best_AP_iter_100.pth']
    ):
        torch.save(dict(meta=dict(seed=age), weight=torch.ones(1000)), tmp_path / name)
        os.utime(tmp_path / name, ns=(age, age))
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_2.pth'))
    return tmp_path


@pytest.fixture
def warnings():
    with patch('tresnet_det.training.runner.resume.print_log') as print_log:
        yield print_log.call_args_list


@pytest.mark.parametrize('truncate', [True, False])
def test_damage(run, truncate):
    file = run / 'epoch_2.pth'
    assert damage(file) is None
    damage_file(file, truncate)
    fault = damage(file)
    assert ('zip' if truncate else 'checksum of epoch_2/data/0') in fault


def test_no_file_is_damage(tmp_path):
    assert 'No such file' in damage(tmp_path / 'a.pth')
    (tmp_path / 'a.pth').touch()
    assert 'zip' in damage(tmp_path / 'a.pth')


def test_the_named_one_is_taken(run, warnings):
    assert find_whole_checkpoint(run) == str(run / 'epoch_2.pth')
    (run / 'last_checkpoint').write_text(str(run / 'iter_9.pth'))
    assert find_whole_checkpoint(run) == str(run / 'iter_9.pth')
    assert not warnings


@pytest.mark.parametrize('truncate', [True, False])
def test_the_one_before_a_damaged_one(run, warnings, truncate):
    damage_file(run / 'epoch_2.pth', truncate)
    before = str(run / 'iter_100.pth')
    assert find_whole_checkpoint(run) == before
    ((warning, *_),) = (call.args for call in warnings)
    assert f'left out: {run / "epoch_2.pth"} (' in warning
    assert warning.endswith(f'resuming from {before}')
    damage_file(run / 'iter_100.pth', truncate)
    assert find_whole_checkpoint(run) == str(run / 'iter_9.pth')
    assert len(warnings) == 3


@pytest.mark.parametrize('content', ['', 'gone.pth', None])
def test_last_checkpoint_names_nothing(run, content):
    if content is None:
        (run / 'last_checkpoint').unlink()
    else:
        (run / 'last_checkpoint').write_text(content and str(run / content))
    assert find_whole_checkpoint(run) == str(run / 'epoch_2.pth')


def test_none_is_whole(run):
    for file in run.glob('*.pth'):
        damage_file(file, truncate=True)
    with pytest.raises(ValueError, match='no checkpoint is whole') as error:
        find_whole_checkpoint(run)
    for name in ('epoch_2', 'iter_100', 'iter_9'):
        assert f'{name}.pth (' in str(error.value)


def test_none_yet(tmp_path):
    assert find_whole_checkpoint(tmp_path) is None


def test_other_files_are_no_checkpoints(run):
    for name in ('epoch_2.pth', 'iter_100.pth', 'iter_9.pth', 'last_checkpoint'):
        (run / name).rename(run / f'pretrained_{name}')
    assert find_whole_checkpoint(run) is None
    # Unless a run names its own so.
    (run / 'last_checkpoint').write_text('gone/pretrained_iter_101.pth')
    found = run / 'pretrained_iter_100.pth'
    assert find_whole_checkpoint(run) == str(found)


def test_choice(run):
    newest = str(run / 'epoch_2.pth')
    assert choose_checkpoint(run) == (newest, 2)
    assert choose_checkpoint(run, str(run / 'iter_9.pth')) == (
        str(run / 'iter_9.pth'),
        0,
    )
    assert choose_checkpoint(run, 's3://a.pth') == ('s3://a.pth', None)
    assert choose_checkpoint(run / 'no') == (None, None)
    damage_file(run / 'epoch_2.pth', truncate=True)
    with pytest.raises(UserError, match='epoch_2.pth, which is damaged'):
        choose_checkpoint(run, newest)
    with zipfile.ZipFile(newest, 'w') as archive:
        archive.writestr('a', 'whole, and no checkpoint')
    with pytest.raises(UserError, match='epoch_2.pth cannot be read'):
        choose_checkpoint(run, newest)


def test_an_address_is_taken_as_it_is(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('s3://runs/iter_2.pth')
    assert find_whole_checkpoint(tmp_path) == 's3://runs/iter_2.pth'


def test_seed(run):
    assert read_seed(str(run / 'epoch_2.pth')) == 2
