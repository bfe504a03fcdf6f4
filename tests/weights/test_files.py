"""Files that are read, refused or explained, and files that are written."""

import os
import pickle
import struct
import zipfile
from unittest.mock import patch

import pytest
import torch
from mmengine.utils import digit_version
from safetensors import safe_open
from safetensors.torch import save_file

from tresnet_det.weights.fetch import fetch
from tresnet_det.weights.files import read_weights, write_weights
from tresnet_det.weights.formats import CheckpointError

STATE = {'a.weight': torch.arange(6.0).view(2, 3), 'a.count': torch.tensor(3)}


class Malicious:
    """A pickle of it makes whoever loads it write a file."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f'touch {self.trace}',)


def refused(path, *says):
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    for text in (str(path), *says):
        assert text in str(caught.value)


@pytest.mark.parametrize(
    'content',
    [
        STATE,
        {'model': STATE},
        {'state_dict': STATE, 'epoch': 3},
        {'model': {'state_dict': STATE}},
        {'state_dict': {'a.weight': torch.zeros(1)}, 'state_dict_ema': STATE},
        {'model': {'a.weight': torch.zeros(1)}, 'model_ema': STATE},
        {'state_dict': STATE, 'ema_state_dict': {'module.a': torch.zeros(1)}},
    ],
)
@pytest.mark.parametrize('zipped', [True, False])
def test_where_the_state_dict_is(tmp_path, content, zipped):
    path = tmp_path / 'weights.pth'
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    state, _ = read_weights(path)
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[k], STATE[k]) for k in STATE)


@pytest.mark.parametrize('name', ['w.safetensors', 'w.pth', 'w.bin', 'w'])
def test_written_and_read(tmp_path, name):
    path = tmp_path / name
    write_weights(path, STATE, 'model', {'source': 'here'})
    state, meta = read_weights(path)
    assert all(torch.equal(state[k], STATE[k]) for k in STATE)
    assert meta['source'] == 'here'
    assert os.listdir(tmp_path) == [name]


def test_safetensors_by_contents(tmp_path):
    path = tmp_path / 'download'
    save_file(STATE, path)
    assert read_weights(path)[0].keys() == STATE.keys()


def test_safetensors_may_be_read_by_others(tmp_path):
    for name in ('w.safetensors', 'w.pth'):
        write_weights(tmp_path / name, STATE, 'state_dict', {})
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    (tmp_path / 'other').touch()
    assert modes == {(tmp_path / 'other').stat().st_mode}


def test_safetensors_tells_other_libraries_its_format(tmp_path):
    path = tmp_path / 'w.safetensors'
    write_weights(path, {'t': torch.ones(2, 3).t()}, 'model', {})
    with safe_open(path, framework='pt') as file:
        assert file.metadata()['format'] == 'pt'


@pytest.mark.parametrize(
    'where', ['bare', 'zip', 'legacy', 'in a state dict', 'named safetensors']
)
def test_malicious_pickle_is_not_run(tmp_path, where):
    trace = tmp_path / 'trace'
    evil = Malicious(trace)
    path = tmp_path / ('w.safetensors' if where == 'named safetensors' else 'w.pth')
    if where in ('bare', 'named safetensors'):
        path.write_bytes(pickle.dumps(evil, protocol=2))
    else:
        content = (
            {'state_dict': {**STATE, 'x': evil}} if where == 'in a state dict' else evil
        )
        torch.save(content, path, _use_new_zipfile_serialization=where != 'legacy')
    says = (
        ('no whole safetensors',)
        if where == 'named safetensors'
        else ('refused', 'nothing in it was run', f'{os.system.__module__}.system')
    )
    refused(path, *says)
    assert os.listdir(tmp_path) == [path.name]
    # It would have: the same pickle, read carelessly, leaves its trace.
    pickle.loads(pickle.dumps(evil))
    assert trace.exists()


@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.2'),
    reason='this torch writes no nested tensors',
)
@pytest.mark.parametrize('how', ['zip', 'legacy', 'compressed'])
def test_nested_tensors_are_not_rebuilt(tmp_path, how):
    """torch does not check their sizes: it would read other memory."""
    path = tmp_path / 'w.pth'
    content = {**STATE, 'x': torch.nested.nested_tensor([torch.ones(2)])}
    torch.save(content, path, _use_new_zipfile_serialization=how != 'legacy')
    if how == 'compressed':
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            for name, data in parts.items():
                archive.writestr(name, data)
        assert b'nested_tensor' not in path.read_bytes()
    with patch('torch._nested_view_from_buffer', side_effect=AssertionError):
        refused(path, 'holds a nested tensor')


def test_pickled_module_is_refused_by_its_class(tmp_path):
    path = tmp_path / 'w.pth'
    torch.save(torch.nn.Linear(1, 1), path)
    refused(path, 'torch.nn.modules.linear.Linear', 'state_dict()')


@pytest.mark.parametrize('name', ['w.safetensors', 'w.pth', 'legacy.pth'])
@pytest.mark.parametrize('keep', [0.1, 0.5, 0.98])
def test_cut_short(tmp_path, name, keep):
    path = tmp_path / name
    state = {'a.weight': torch.ones(2000)}
    if name == 'w.safetensors':
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=name == 'w.pth')
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    refused(path, 'cut short')


def test_safetensors_with_a_huge_header(tmp_path):
    path = tmp_path / 'w.safetensors'
    path.write_bytes(struct.pack('<Q', 1 << 62) + b'{}')
    refused(path, 'no whole safetensors file')


def test_empty(tmp_path):
    path = tmp_path / 'w.pth'
    path.touch()
    refused(path, 'empty (0 bytes)')


def test_absent(tmp_path):
    refused(tmp_path / 'w.pth', 'does not exist', 'timm://NAME')


def test_directory(tmp_path):
    refused(tmp_path, 'is a directory')


def test_no_permission(tmp_path):
    path = tmp_path / 'w.pth'
    torch.save(STATE, path)
    path.chmod(0)
    if os.geteuid():
        refused(path, 'Permission denied')
        return
    os.seteuid(65534)  # root may read everything, so be nobody meanwhile
    try:
        refused(path, 'Permission denied')
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    'content',
    [
        b'<!DOCTYPE html><html>Not found</html>',
        b'version https://git-lfs.github.com/spec/v1\n',
        b'\x89PNG\r\n\x1a\n000',
    ],
)
def test_other_kinds_of_file(tmp_path, content):
    path = tmp_path / 'w.pth'
    path.write_bytes(content)
    refused(path, 'no checkpoint', 'web page or a Git LFS pointer')


def test_zip_of_something_else(tmp_path):
    path = tmp_path / 'w.pth'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('a.txt', 'hello')
    refused(path, 'cannot be read as a file of torch.save')


@pytest.mark.parametrize(
    'content, says',
    [
        ([1, 2], 'holds a list'),
        (torch.ones(3), 'holds a Tensor'),
        ({}, 'no state dict'),
        ({'model': {}}, 'no state dict'),
        ({'epoch': 1, 'optimizer': {}}, 'epoch, optimizer is no tensor'),
        ({3: torch.ones(1)}, '3 is no tensor'),
    ],
)
def test_no_state_dict_in_it(tmp_path, content, says):
    path = tmp_path / 'w.pth'
    torch.save(content, path)
    refused(path, says, 'state_dict_ema, model_ema, state_dict, model')


def test_a_file_that_holds_itself_has_an_end(tmp_path):
    path, content = tmp_path / 'w.pth', {'epoch': 1}
    content['model'] = content
    torch.save(content, path)
    refused(path, 'no state dict under any of the keys')


def test_tensors_without_values(tmp_path):
    path = tmp_path / 'w.pth'
    torch.save({'a.weight': torch.ones(2, device='meta')}, path)
    refused(path, 'a.weight is no tensor')


def test_home_and_unknown_schemes(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert fetch('~/w.pth') == tmp_path / 'w.pth'
    with pytest.raises(CheckpointError, match='unknown scheme torchvision://'):
        fetch('torchvision://resnet50')
    assert fetch(tmp_path / 'w.pth') == tmp_path / 'w.pth'
    with pytest.raises(CheckpointError, match='checkpoint is None'):
        fetch(None)


def test_nothing_is_left_where_writing_fails(tmp_path):
    target = tmp_path / 'w.safetensors'
    target.mkdir()
    with pytest.raises(CheckpointError, match='cannot be written'):
        write_weights(target, STATE, 'model', {})
    assert os.listdir(tmp_path) == ['w.safetensors']
    assert not os.listdir(target)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'w.pth'
    write_weights(path, STATE, 'model', {})
    before = path.read_bytes()

    def full(content, file):
        file.write_bytes(b'PK')
        raise RuntimeError('disk full')

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(CheckpointError, match='disk full'):
        write_weights(path, {}, 'model', {})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ['w.pth']
