"""The tool: conversion between files of every format, and --inspect."""

import os
import runpy
import sys
from pathlib import Path

import pytest
import timm
import torch
from official import fill
from safetensors import safe_open

from tresnet_det import TResNet
from tresnet_det.environment.versions import __version__
from tresnet_det.models.classifier import TResNetClassifier
from tresnet_det.weights.files import read_weights
from tresnet_det.weights.formats import from_ours, to_ours
from tresnet_det.weights.pretrained import load_pretrained

TOOL = (
    Path(__file__).parents[2] / 'tools' / 'model_converters' / 'convert_checkpoint.py'
)
TINY = dict(depths=(1, 2, 1, 1), width=8)


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run the tool; its exit message (None: success) and what it printed."""

    def tool(*args):
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args)])
        try:
            runpy.run_path(str(TOOL), run_name='__main__')
        except SystemExit as error:
            return error.code, capsys.readouterr()
        return None, capsys.readouterr()

    return tool


@pytest.fixture(scope='module')
def official():
    shapes = {
        k: v.shape
        for k, v in TResNetClassifier(TINY, num_classes=5).state_dict().items()
    }
    ours = to_ours(fill(shapes)).state
    return from_ours(ours, 'official')


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
def test_round_the_formats(tool, tmp_path, official, ending):
    names = ['official', 'mm', 'timm', 'official', 'mm']
    files = [tmp_path / f'{i}.{ending}' for i in range(len(names))]
    torch.save({'model': official}, tmp_path / 'first.pth')
    source = tmp_path / 'first.pth'
    for name, target in zip(names, files):
        code, printed = tool(source, target, '--to', name)
        assert code is None and f'written     {target}' in printed.out
        source = target
    states = [read_weights(file)[0] for file in files]
    assert same(to_ours(official).state, to_ours(states[-1]).state)
    assert same(states[0], states[3]) and same(states[1], states[4])
    assert 'backbone.layer1.0.conv1.weight' in states[1]
    assert 'body.layer1.0.conv1.conv.weight' in states[2]

    # A converted file converted again is the same file.
    again = tmp_path / f'again.{ending}'
    tool(files[1], again, '--to', 'mm')
    assert same(read_weights(again)[0], states[1])


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
def test_metadata(tool, tmp_path, official, ending):
    torch.save(official, tmp_path / 'in.pth')
    target = tmp_path / f'out.{ending}'
    tool(tmp_path / 'in.pth', target, '--to', 'timm')
    _, meta = read_weights(target)
    assert {key: meta[key] for key in meta if key != 'format'} == {
        'source': str(tmp_path / 'in.pth'),
        'source_format': 'official',
        'weights_format': 'timm',
        'tresnet_det': __version__,
        'arch': 'dict(depths=(1, 2, 1, 1), width=8, '
        'bottleneck=(False, False, True, True))',
    }
    if ending == 'safetensors':
        with safe_open(target, framework='pt') as file:
            assert file.metadata()['format'] == 'pt'


def test_timm_reads_what_is_written(tool, tmp_path):
    model = timm.create_model('tresnet_m', num_classes=3)
    state = fill({k: v.shape for k, v in model.state_dict().items()})
    torch.save(state, tmp_path / 'in.pth')
    target = tmp_path / 'out.safetensors'
    code, printed = tool(tmp_path / 'in.pth', target, '--to', 'timm')
    assert code is None and 'arch        m\n' in printed.out
    model = timm.create_model('tresnet_m', num_classes=3, checkpoint_path=str(target))
    assert same(model.state_dict(), state)


def test_inspect(tool, tmp_path, official):
    path = tmp_path / 'in.pth'
    torch.save({'model': official, 'meta': {'epoch': 3}}, path)
    code, printed = tool('--inspect', path)
    assert code is None
    for line in (
        f'file        {path}',
        "format      official, prefix ''",
        'arch        dict(depths=(1, 2, 1, 1), width=8',
        'classes     5',
        f'tensors     {len(official)} (float32, ',
        'dropped     nothing',
        "meta        epoch: '3'",
    ):
        assert line in printed.out
    assert os.listdir(tmp_path) == ['in.pth']


def test_only_the_backbone_of_a_detector_is_written(tool, tmp_path):
    ours = fill(
        {f'backbone.{k}': v.shape for k, v in TResNet(TINY).state_dict().items()}
    )
    torch.save(
        {'state_dict': {**ours, 'neck.weight': torch.ones(1)}}, tmp_path / 'in.pth'
    )
    code, printed = tool(tmp_path / 'in.pth', tmp_path / 'out.pth', '--to', 'mm')
    assert code is None and '1 outside the backbone' in printed.out
    assert same(read_weights(tmp_path / 'out.pth')[0], ours)
    assert load_pretrained(TResNet(TINY), str(tmp_path / 'out.pth')).complete


@pytest.mark.parametrize(
    'content, says', [(b'', 'is empty'), (b'hello, world', 'no checkpoint')]
)
def test_errors_are_one_line(tool, tmp_path, content, says):
    path = tmp_path / 'in.pth'
    path.write_bytes(content)
    code, printed = tool(path, tmp_path / 'out.pth', '--to', 'mm')
    assert code.startswith('error: ') and says in code and '\n' not in code
    assert os.listdir(tmp_path) == ['in.pth']


def test_unknown_keys_are_not_written(tool, tmp_path, official):
    torch.save({**official, 'body.layer1.0.odd': torch.ones(1)}, tmp_path / 'in.pth')
    code, _ = tool(tmp_path / 'in.pth', tmp_path / 'out.pth', '--to', 'mm')
    assert '1 keys that no TResNet has (body.layer1.0.odd)' in code
    assert os.listdir(tmp_path) == ['in.pth']


def test_lacking_what_it_is_known_by(tool, tmp_path, official):
    """Written in our names it could not be read again."""
    state = {
        'other.weight'
        if key == 'body.layer1.0.se.fc1.weight'
        else f'backbone.{key}': value
        for key, value in official.items()
    }
    torch.save(state, tmp_path / 'in.pth')
    code, _ = tool(tmp_path / 'in.pth', tmp_path / 'out.pth', '--to', 'mm')
    assert 'has no layer1.0.se.fc1.weight' in code
    assert not (tmp_path / 'out.pth').exists()


@pytest.mark.parametrize(
    'args',
    [
        ['in'],
        ['in', '--to', 'mm'],
        ['in', 'out', '--inspect'],
        ['in', 'out', '--to', 'onnx'],
    ],
)
def test_wrong_use(tool, args):
    code, printed = tool(*args)
    assert code == 2 and 'usage:' in printed.err
