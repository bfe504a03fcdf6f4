"""What the configs of detectors say.

That each of them trains and predicts: test_config_steps.py.
"""

from collections import Counter
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import init_default_scope

PROJECT = Path(__file__).parents[2]
ROOT = PROJECT / 'configs'
NOT_DETECTORS = ('_base_', 'classification', 'segmentation')
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for path in ROOT.glob('*/*.py')
    if path.parent.name not in NOT_DETECTORS
)
OF_TRESNET = [name for name in CONFIGS if '_tresnet-' in name]
# Those for COCO differ in their schedule alone, see test_schedules below: of
# each detector and backbone one is built.
COCO = [
    name
    for name in CONFIGS
    if name.endswith('_coco.py') and not name.startswith(('distillation/', 'paper/'))
]
DETECTORS = {name.partition('_fpn_')[0]: name for name in reversed(COCO)}
BUILT = sorted({*CONFIGS} - {*COCO} | {*DETECTORS.values()})
METAFILES = sorted(ROOT.glob('*/metafile.yml'))
OF_DETECTORS = [path for path in METAFILES if path.parent.name not in NOT_DETECTORS]
EPOCHS = {
    '1x': 12,
    'amp-1x': 12,
    '20e': 20,
    '2x': 24,
    'ms-2x': 24,
    'ms-640-800-2x': 24,
    'ms-3x': 36,
    'ms-poly-3x': 36,
    'ms-640-800-3x': 36,
    '8xb6-70e': 70,
}


@cache
def read(name):
    return Config.fromfile(ROOT / name)


def values(node, key):
    """All values of a key, at any depth."""
    if isinstance(node, dict):
        yield from [node[key]] if key in node else []
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from values(child, key)


def unrepeated(dataset):
    """A data set and how often an epoch runs over it."""
    if dataset.type == 'RepeatDataset':
        return dataset.dataset, dataset.times
    return dataset, 1


def epochs(cfg):
    return cfg.train_cfg.max_epochs * unrepeated(cfg.train_dataloader.dataset)[1]


@pytest.mark.parametrize('name', OF_TRESNET)
def test_shared_part(name):
    cfg, backbone = read(name), read(name).model.backbone
    assert cfg.custom_imports.imports == ['tresnet_det']
    assert cfg.runner_type == 'CheckedRunner'
    assert backbone.type == 'TResNet'
    assert name.partition('_tresnet-')[2].startswith(f'{backbone.arch}_fpn')
    if backbone.get('init_cfg') is None:  # nothing may stay as it came
        assert backbone.frozen_stages == -1 and not backbone.norm_eval
    else:
        assert backbone.init_cfg.checkpoint.startswith(
            f'timm://tresnet_{backbone.arch}.'
        )


@pytest.mark.parametrize('name', BUILT)
def test_input_is_rgb_in_0_1(name):
    cfg = read(name)
    init_default_scope('mmdet')
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    if cfg.model.backbone.type == 'ResNet' and cfg.model.backbone.get('init_cfg'):
        expected = [
            (0 - 123.675) / 58.395,
            (51 - 116.28) / 57.12,
            (255 - 103.53) / 57.375,
        ]  # of torchvision's weights
    else:
        expected = [0.0, 0.2, 1.0]
    colour = torch.tensor([255, 51, 0], dtype=torch.uint8)  # BGR, as loaded
    image = colour[:, None, None].expand(3, 40, 70)
    inputs = preprocessor(dict(inputs=[image]))['inputs']
    assert inputs.shape == (1, 3, 64, 96)
    assert inputs[0, :, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('name', BUILT)
def test_whole_model_builds_and_its_neck_fits(name):
    cfg = read(name)
    init_default_scope('mmdet')
    with torch.device('meta'):
        model = MODELS.build(deepcopy(cfg.model))
    inputs = torch.zeros(1, 3, 64, 64, device='meta')
    channels = [x.shape[1] for x in model.backbone(inputs)]
    assert list(cfg.model.neck.in_channels) == channels


@pytest.mark.parametrize('name', CONFIGS)
def test_classes_are_counted(name):
    cfg = read(name)
    for split in ('train', 'val', 'test'):
        dataset, _ = unrepeated(cfg[f'{split}_dataloader'].dataset)
        metainfo = dataset.get('metainfo')
        expected = len(metainfo.classes) if metainfo else 80
        assert set(values(cfg.model, 'num_classes')) == {expected}
    assert cfg.val_evaluator.ann_file.endswith(cfg.val_dataloader.dataset.ann_file)
    assert cfg.test_dataloader == cfg.val_dataloader
    assert cfg.test_evaluator == cfg.val_evaluator


@pytest.mark.parametrize('name', COCO)
def test_schedules_of_a_detector_share_its_model(name):
    cfg = read(name)
    assert cfg.model == read(DETECTORS[name.partition('_fpn_')[0]]).model
    schedule = name.partition('_fpn_')[2][: -len('_coco.py')]
    assert epochs(cfg) == EPOCHS[schedule]
    scheduler = cfg.param_scheduler[-1]
    assert scheduler.type == 'MultiStepLR'
    assert max(scheduler.milestones) < cfg.train_cfg.max_epochs
    assert cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.train_dataloader.batch_size == 2
    if schedule == 'amp-1x':
        assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    else:
        assert f' lr {cfg.optim_wrapper.optimizer.lr};' in (ROOT / name).read_text()


def test_arms_of_the_paper_differ_in_the_backbone_only():
    arms = [
        read(f'paper/fcos_{arch}_fpn_8xb6-70e_coco.py').to_dict()
        for arch in ('r50', 'tresnet-m')
    ]
    for arm in arms:
        assert dict(type='ValLossHook') in arm['custom_hooks']
        assert arm['model'].pop('backbone')
        assert arm['model']['neck'].pop('in_channels')
        for key in ('mean', 'std', 'bgr_to_rgb'):
            arm['model']['data_preprocessor'].pop(key)
        arm.pop('tresnet')  # what one backbone was taken from
    assert arms[0] == arms[1]
    assert (
        arms[0]['train_dataloader']['batch_size'] * 8
        == arms[0]['auto_scale_lr']['base_batch_size']
        == 48
    )


@pytest.mark.parametrize('path', OF_DETECTORS, ids=lambda p: p.parent.name)
def test_metafile_and_readme_list_the_configs(path):
    meta = load(path)
    (collection,) = meta['Collections']
    assert PROJECT / collection['README'] == path.parent / 'README.md'
    readme = (path.parent / 'README.md').read_text()
    listed = {model['Config']: model for model in meta['Models']}
    assert {PROJECT / config for config in listed} == {*path.parent.glob('*.py')}
    for config, model in listed.items():
        file = Path(config)
        assert model['Name'] == file.stem
        assert model['In Collection'] == collection['Name']
        assert model['Metadata']['Epochs'] == epochs(
            read(f'{file.parent.name}/{file.name}')
        )
        assert f'({file.name})' in readme


def test_model_index_lists_the_metafiles():
    listed = load(PROJECT / 'model-index.yml')['Import']
    assert [PROJECT / path for path in listed] == METAFILES
    assert {path.parent.name for path in OF_DETECTORS} == {
        name.partition('/')[0] for name in CONFIGS if name.endswith('_coco.py')
    }


def test_configs_are_short_deltas_and_nothing_is_copied():
    blocks = Counter()
    for path in sorted(ROOT.glob('**/*.py')):
        lines = path.read_text().splitlines()
        assert len(lines) <= 40, path
        code = [line for line in lines if line and line[0] != '#']
        assert path.parent.name == '_base_' or code[0].startswith('_base_ = '), path
        blocks.update({'\n'.join(code[i : i + 5]) for i in range(len(code) - 4)})
    assert blocks.most_common(1)[0][1] == 1, blocks.most_common(1)


@pytest.mark.parametrize(
    'name, variable',
    [
        ('demo/fcos_tresnet-m_fpn_demo.py', 'DEMO_DATA'),
        ('bccd/fcos_tresnet-m_fpn_bccd.py', 'BCCD'),
        ('cards/fcos_tresnet-m_fpn_cards.py', 'CARDS'),
        ('own_data/fcos_tresnet-m_fpn_own.py', 'OWN_DATA'),
    ],
)
def test_data_folder_from_the_environment(monkeypatch, name, variable):
    monkeypatch.setenv(variable, '/some where/data')
    cfg = Config.fromfile(ROOT / name)
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.data_root == '/some where/data/'
    assert cfg.test_evaluator.ann_file.startswith('/some where/data/ann')
