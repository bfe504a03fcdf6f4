"""The MMPretrain configs train and evaluate on data of the right layout."""

import json
import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, load_checkpoint
from official import fill, official_shapes
from PIL import Image

from tresnet_det.models.classifier import TResNetClassifier
from tresnet_det.weights.archs import ARCHS
from tresnet_det.weights.pretrained import convert_checkpoint

pytest.importorskip('mmpretrain', reason='needs pip install mmpretrain==1.2.0')

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    path.name for path in (ROOT / 'configs' / 'classification').glob('*.py')
)


def noise(*shape):
    return np.random.RandomState(0).randint(0, 256, shape, 'uint8')


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(32, 32, 3)).save(path)


def imagenet(root):
    for split in ('train', 'val'):
        for i in range(1000):
            picture(root / split / f'n{i:08}' / 'image.JPEG')


def cifar(root, dataset):
    """Four images in each file of CIFAR's pickles."""
    folder = root / dataset.base_folder
    folder.mkdir(parents=True)
    key = 'fine_labels' if dataset.__name__ == 'CIFAR100' else 'labels'
    for name, _ in dataset.train_list + dataset.test_list:
        (folder / name).write_bytes(
            pickle.dumps({'data': noise(4, 3072), key: [0, 1, 2, 3]})
        )


def coco(root, monkeypatch):
    """COCO's layout, and annotation files made by the tool."""
    categories = [{'id': 7 * i + 1, 'name': f'thing {i}'} for i in range(80)]
    for split in ('train', 'val'):
        images = [
            {'id': i, 'file_name': f'{i}.jpg', 'width': 64, 'height': 64}
            for i in range(4)
        ]
        for image in images:
            picture(root / f'{split}2017' / image['file_name'])
        notes = [
            {
                'id': i,
                'image_id': i % 3,
                'category_id': 7 * i + 1,
                'bbox': [0, 0, 9, 9],
                'area': 81,
                'iscrowd': 0,
            }
            for i in range(6)
        ]
        files = [
            root / 'annotations' / f'{kind}_{split}2017.json'
            for kind in ('instances', 'multilabel')
        ]
        files[0].parent.mkdir(exist_ok=True)
        files[0].write_text(
            json.dumps(dict(images=images, annotations=notes, categories=categories))
        )
        monkeypatch.setattr(sys, 'argv', ['', *map(str, files)])
        runpy.run_path(
            str(ROOT / 'tools' / 'dataset_converters' / 'coco_multilabel.py'),
            run_name='__main__',
        )


@pytest.fixture(autouse=True)
def scope():
    """MMPretrain's scope here, and MMDetection's for what comes after."""
    init_default_scope('mmpretrain')
    yield
    init_default_scope('mmdet')


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A config cut to one epoch of two small images a step on generated
    data, with one block a stage."""

    def small(name):
        from mmpretrain.datasets import cifar as theirs

        cfg = Config.fromfile(ROOT / 'configs' / 'classification' / name)
        data = tmp_path / 'data'
        if 'cifar' in name:
            dataset = getattr(theirs, cfg.train_dataloader.dataset.type)
            cifar(data, dataset)
            # What is generated has other checksums than the real files.
            monkeypatch.setattr(dataset, '_check_integrity', lambda self: True)
        elif 'coco' in name:
            coco(data, monkeypatch)
        else:
            imagenet(data)
        for split in ('train', 'val', 'test'):
            loader = cfg[f'{split}_dataloader']
            loader.update(batch_size=2, num_workers=0)
            loader.dataset.update(data_root=str(data), indices=4)
            for transform in loader.dataset.pipeline:
                if transform['type'] != 'RandomCrop':  # CIFAR's own size
                    transform.update(
                        dict.fromkeys({'scale', 'crop_size'} & {*transform}, 64)
                    )
        cfg.train_cfg.max_epochs = cfg.param_scheduler.total_steps = 1
        cfg.model.backbone.update(
            init_cfg=None, arch=ARCHS['m']._replace(depths=(1, 1, 1, 1))._asdict()
        )
        cfg.work_dir = str(tmp_path / 'run')
        cfg.experiment_name = f'{name} {tmp_path.name}'
        return cfg

    return small


@pytest.mark.parametrize('name', CONFIGS)
def test_trains_and_evaluates(small, name):
    cfg = small(name)
    runner = Runner.from_cfg(cfg)
    before = runner.model.backbone.conv1.weight.clone()
    runner.train()
    after = runner.model.backbone.conv1.weight
    assert runner.iter == 2 and after.isfinite().all()
    assert not torch.equal(before, after.cpu())
    metrics = runner.test()
    assert metrics and all(0 <= value <= 100 for value in metrics.values())


def test_converted_weights_are_evaluated_as_they_are(tmp_path):
    """An MMPretrain classifier takes every tensor and gives our logits."""
    torch.save({'model': fill(official_shapes('m'))}, tmp_path / 'in.pth')
    convert_checkpoint(str(tmp_path / 'in.pth'), str(tmp_path / 'mm.pth'), 'mm')
    cfg = Config.fromfile(
        ROOT / 'configs' / 'classification' / 'tresnet-m_8xb64-300e_in1k.py'
    )
    theirs = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    load_checkpoint(theirs, str(tmp_path / 'mm.pth'), strict=True)
    ours = TResNetClassifier(
        'm', init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'in.pth'))
    )
    ours.init_weights()
    images = torch.from_numpy(noise(2, 3, 64, 64))  # BGR, as it is loaded
    with torch.no_grad():
        inputs = theirs.eval().data_preprocessor({'inputs': images})['inputs']
        logits = theirs.head(theirs.extract_feat(inputs))
        expected = ours.eval()(images.flip(1) / 255)
    torch.testing.assert_close(logits, expected)
