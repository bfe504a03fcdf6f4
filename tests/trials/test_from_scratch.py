"""The trial of changes: each changes what it says, and nothing else."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path

import from_scratch
import pytest
import torch
from changed_tresnet import ChangedTResNet
from from_scratch import CHANGES, config_of, table
from mmdet.registry import MODELS
from mmengine.config import Config
from small_runs import box, coco, write_data

from tresnet_det import TResNet
from tresnet_det.comparison.equality import differences
from tresnet_det.comparison.plan import check_comparable, plan_arm

ROOT = Path(__file__).parents[2]
TRIAL = Path(from_scratch.__file__)
SMALL = dict(arch=dict(depths=(1, 1, 1, 1), width=16), norm_eval=False)


unchanged = cache(config_of)


@pytest.mark.parametrize('name', CHANGES)
def test_one_thing_is_changed(name):
    base = 'r50' if name.startswith('r50') else 'tresnet-m'
    cfg, plain = config_of(name), unchanged(base)
    changed = {*differences(plain, cfg)}
    assert bool(changed) == (name != base)
    expected = tuple(names(CHANGES[name].delta))
    assert [key for key in changed if not key.startswith(expected)] == []
    with torch.device('meta'):
        MODELS.build(deepcopy(cfg.model))


def names(delta, prefix=''):
    """Dotted names that a delta sets; a dict that replaces another is one."""
    for key, value in delta.items():
        if isinstance(value, dict) and '_delete_' not in value:
            yield from names(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}'


def test_from_c2_is_what_the_bases_have():
    ours = Config.fromfile(ROOT / 'configs/bccd/fcos_tresnet-m_fpn_bccd.py').model
    trial = config_of('fpn_from_c2').model
    assert (trial.neck, trial.bbox_head) == (ours.neck, ours.bbox_head)


def test_report_takes_what_is_finished(tmp_path, monkeypatch):
    for name in ('r50', 'relu', 'no_blur'):
        (tmp_path / name / 'seed_0').mkdir(parents=True)
    monkeypatch.setattr(sys, 'argv', [str(TRIAL), str(tmp_path), '--report'])
    with pytest.raises(SystemExit, match='0 finished arms, a report needs two'):
        runpy.run_path(str(TRIAL), run_name='__main__')
    for name in ('r50', 'relu'):
        (tmp_path / name / 'seed_0' / 'evaluated.json').touch()
    called = []
    monkeypatch.setattr(subprocess, 'call', lambda c, env: called.append(c) or 1)
    with pytest.raises(SystemExit, match='1'):
        runpy.run_path(str(TRIAL), run_name='__main__')
    arms = [Path(part).name for part in called[0][2 : called[0].index('--seeds')]]
    assert arms == ['r50', 'relu']


def test_nothing_is_used_up():
    first = config_of('bottlenecks')
    assert differences(first, config_of('bottlenecks')) == {}


def test_levels_and_sizes():
    cfg = config_of('size_320x240')
    sizes = [
        [step['scale'] for step in loader.dataset.pipeline if step['type'] == 'Resize']
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)
    ]
    assert sizes == [[(320, 240)]] * 3
    assert config_of('epochs_20').param_scheduler[1].T_max == 20
    model = MODELS.build(config_of('fpn_from_c2').model)
    maps = model.neck(model.backbone(torch.zeros(1, 3, 64, 96)))
    assert [tuple(level.shape[2:]) for level in maps] == [
        (16, 24),
        (8, 12),
        (4, 6),
        (2, 3),
    ]


def test_unchanged_it_is_tresnet():
    torch.manual_seed(0)
    ours = TResNet(**SMALL)
    changed = ChangedTResNet(**SMALL)
    changed.load_state_dict(ours.state_dict())
    image = torch.rand(2, 3, 64, 64)
    for one, other in zip(ours(image), changed(image)):
        torch.testing.assert_close(one, other)


def test_no_blur_is_a_conv_of_stride_2():
    changed = ChangedTResNet(blur=False, **SMALL)
    block = changed.layer2[0]
    image = torch.rand(1, 16, 9, 12)
    torch.testing.assert_close(block.blur(image), image[..., ::2, ::2])
    changed(torch.rand(1, 3, 64, 64))[-1].sum().backward()
    assert block.conv1.weight.grad is not None


@pytest.mark.parametrize(
    'options',
    [dict(stem='convs'), dict(squeeze_excite=False), dict(last_gammas=1.0)],
    ids=str,
)
def test_parts(options):
    changed = ChangedTResNet(**options, **SMALL)
    maps = changed(torch.rand(2, 3, 70, 97))
    ours = TResNet(**SMALL)(torch.rand(2, 3, 70, 97))
    assert [m.shape for m in maps] == [m.shape for m in ours]
    names = [name for name, _ in changed.named_parameters()]
    assert any('.se.' in name for name in names) == ('squeeze_excite' not in options)
    last = {*changed.layer1[0].bn2.weight.tolist()}
    assert last == {options.get('last_gammas', 0.0)}
    assert changed.conv1.weight.shape[-1] == (7 if 'stem' in options else 3)


def test_the_command(tmp_path, monkeypatch, capsys):
    """compare.py, tested elsewhere, takes what it is given; the figures are shown."""
    data, out = tmp_path / 'cells', tmp_path / 'out'
    write_data(data, coco([box(1, 5, 6, 20, 30)], ('Platelets', 'RBC', 'WBC')))
    (data / 'annotations').mkdir()
    for split in ('train', 'val'):
        shutil.copy(data / 'ann.json', data / 'annotations' / f'{split}.json')

    def compare(command, env):
        tool, *arms = [str(part) for part in command[1 : command.index('--data')]]
        assert Path(tool) == ROOT / 'tools' / 'compare.py' and len(arms) == 2
        assert str(TRIAL.parent) in env['PYTHONPATH'].split(os.pathsep)
        planned = [plan_arm(Path(arm), out, [0], str(data)) for arm in arms]
        check_comparable(planned)
        figures = {
            own[0].arm: [
                dict(run=own[0].label, AP=0.1 * k, classes=dict(Platelets=0.25))
            ]
            for k, own in enumerate(planned, start=1)
        }
        (out / 'figures.json').write_text(json.dumps(figures))
        return 0

    monkeypatch.setattr(subprocess, 'call', compare)
    given = [out, '--data', data, '--changes', 'r50', 'no_blur']
    monkeypatch.setattr(sys, 'argv', [str(TRIAL), *map(str, given)])
    with pytest.raises(SystemExit, match='0'):
        runpy.run_path(str(TRIAL), run_name='__main__')
    told = capsys.readouterr().out
    assert '| ResNet-50 | 0 | 10.0 | 10.0 | 25.0 |' in told
    assert '| strides without blur | 0 | 20.0 | 20.0 | 25.0 |' in told


def test_list(capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [str(TRIAL), 'out', '--list'])
    runpy.run_path(str(TRIAL), run_name='__main__')
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        *CHANGES
    ]


def test_table():
    def run(seed, ap, cells):
        return dict(run=f'seed_{seed}', AP=ap, classes=dict(cells=cells))

    figures = {
        'r50': [run(0, 0.5, 0.2), run(1, 0.52, 0.3), dict(run='seed_2', classes={})],
        'relu': [run(0, 0.4, 0.1)],
    }
    assert [line.split(' | ')[1:] for line in table(figures)][2:] == [
        ['0, 1', '51.0 ± 1.4', '50.0, 52.0', '25.0 ± 7.1 |'],
        ['0', '40.0', '40.0', '10.0 |'],
    ]
