"""Checkpoints are slimmed to what others need, under a name that tells."""

import hashlib
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmengine.runner.checkpoint import _load_checkpoint
from small_runs import box, coco, small_config, write_data

from tresnet_det import CheckedRunner, CheckpointError
from tresnet_det.weights.publish import load_from_safetensors, publish

TOOLS = Path(__file__).parents[2] / 'tools'
META = dict(
    epoch=3,
    iter=12,
    cfg='model = dict()',
    dataset_meta=dict(classes=('a', 'b'), palette=[(1, 2, 3), (4, 5, 6)]),
    sigmas=np.array([0.5]),
    best=np.float64('nan'),
)


# What mmengine keeps beside the weights.
NEEDS_LOG_VALUES = pytest.mark.skipif(
    not hasattr(torch.serialization, 'safe_globals'),
    reason="this torch's weights_only refuses mmengine's log values",
)


@pytest.fixture
def checkpoint(tmp_path):
    """As mmengine's EMAHook leaves it: the average under state_dict."""
    average = {'backbone.conv1.weight': torch.arange(6.0).view(2, 3)}
    content = dict(
        meta=META,
        state_dict=average,
        ema_state_dict={'module.backbone.conv1.weight': torch.zeros(2, 3)},
        optimizer=dict(state={0: torch.ones(1000)}, param_groups=[]),
        message_hub=dict(log_scalars={}),
        param_schedulers=[],
    )
    file = tmp_path / 'epoch_3.pth'
    torch.save(content, file)
    return file


@NEEDS_LOG_VALUES
@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
def test_what_is_left(tmp_path, checkpoint, ending):
    file = publish(checkpoint, tmp_path / 'out' / f'fcos.{ending}')
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert file == tmp_path / 'out' / f'fcos-{digest[:8]}.{ending}'
    assert file.stat().st_size < 3000 < checkpoint.stat().st_size
    read = _load_checkpoint(str(file), map_location='cpu')
    assert read.keys() == {'meta', 'state_dict'}
    ((name, value),) = read['state_dict'].items()
    assert name == 'backbone.conv1.weight'
    assert torch.equal(value, torch.arange(6.0).view(2, 3))
    assert read['meta']['dataset_meta'] == META['dataset_meta']
    assert read['meta']['epoch'] == 3 and read['meta']['sigmas'] == [0.5]
    assert read['meta']['best'] == 'nan' and read['meta']['tresnet_det']
    # Again: the same file, and nothing else beside it.
    assert publish(checkpoint, tmp_path / 'out' / f'fcos.{ending}') == file
    assert [*(tmp_path / 'out').iterdir()] == [file]
    file.write_bytes(b'something else')
    with pytest.raises(CheckpointError, match='is there already'):
        publish(checkpoint, tmp_path / 'out' / f'fcos.{ending}')
    assert file.read_bytes() == b'something else'


@pytest.mark.parametrize(
    'prefix', ['module.', '_orig_mod.', 'module._orig_mod.model.', 'ema_model.module.']
)
def test_names_without_wrappers(tmp_path, prefix):
    state = {f'{prefix}a.b': torch.ones(1), f'{prefix}c': torch.ones(1)}
    torch.save(dict(state_dict=state), tmp_path / 'a.pth')
    file = publish(tmp_path / 'a.pth', tmp_path / 'b.pth')
    assert torch.load(file)['state_dict'].keys() == {'a.b', 'c'}


def test_names_twice(tmp_path):
    state = {'module.a': torch.ones(1), 'a': torch.ones(1)}
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='weights twice'):
        publish(tmp_path / 'a.pth', tmp_path / 'b.pth')


def test_safetensors_of_others(tmp_path):
    from safetensors.torch import save_file

    save_file({'a': torch.ones(1)}, tmp_path / 'a.safetensors', {'meta': 'no dict {'})
    read = load_from_safetensors(str(tmp_path / 'a.safetensors'), 'cpu')
    assert read['state_dict'].keys() == {'a'} and read['meta'] == {}


@NEEDS_LOG_VALUES
@pytest.mark.parametrize(
    'source, target, says',
    [
        ('epoch_3.pth', 'o/fcos.pth', None),
        ('gone.pth', 'o/fcos.pth', 'gone.pth does not exist'),
        ('text.pth', 'o/fcos.pth', 'text.pth is no checkpoint'),
        ('epoch_3.pth', 'folder', 'ends in .pth or .safetensors'),
        ('epoch_3.pth', 'text.pth/fcos.pth', 'text.pth'),
    ],
)
def test_tool(tmp_path, checkpoint, monkeypatch, capsys, source, target, says):
    """One line each: the file, or what is wrong."""
    (tmp_path / 'text.pth').write_text('some text')
    tool = TOOLS / 'model_converters/publish_model.py'
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('sys.argv', [str(tool), source, target])
    if says is None:
        runpy.run_path(str(tool), run_name='__main__')
        assert capsys.readouterr().out.startswith('o/fcos-')
        return
    with pytest.raises(SystemExit) as error:
        runpy.run_path(str(tool), run_name='__main__')
    assert str(error.value).startswith('error: ') and says in str(error.value)
    assert {p.name for p in tmp_path.iterdir()} == {'epoch_3.pth', 'text.pth'}


@NEEDS_LOG_VALUES
def test_the_same_detections(tmp_path):
    """In both formats, by tools/test.py's runner, load_from and DetInferencer."""
    data = write_data(tmp_path / 'data', coco([box(1, 10, 10, 30, 30)]))
    cfg = small_config('fcos', data, tmp_path / 'run', train_cfg=dict(max_epochs=1))
    cfg.custom_hooks = [dict(type='EMAHook', momentum=0.5)]
    CheckedRunner.from_cfg(cfg).train()
    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    image = cv2.imread(str(data / 'images' / '1.png'))
    files = [checkpoint] + [
        publish(checkpoint, tmp_path / f'p.{ending}')
        for ending in ('pth', 'safetensors')
    ]
    found, states = [], []
    for file in files:
        inferencer = DetInferencer(cfg, str(file), show_progress=False)
        found.append(inferencer(image)['predictions'][0])
        assert inferencer.model.dataset_meta['classes'] == ('thing',)
        cfg.load_from, cfg.custom_hooks = str(file), []
        cfg.experiment_name = cfg.visualizer.name = str(file)
        runner = CheckedRunner.from_cfg(cfg)
        runner.load_or_resume()
        states.append(runner.model.state_dict())
    assert found[0]['scores'] and found[0] == found[1] == found[2]
    for state in states[1:]:
        assert all(torch.equal(state[name], states[0][name]) for name in state)
    # It is told what it is, in place of 'damaged'.
    for file in files[1:]:
        cfg.load_from, cfg.resume = str(file), True
        cfg.experiment_name = cfg.visualizer.name = f'{file} resumed'
        with pytest.raises(CheckpointError, match='load_from = '):
            CheckedRunner.from_cfg(cfg).train()
