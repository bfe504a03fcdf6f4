"""The MMSegmentation configs train and evaluate, on data of their layout."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image

from tresnet_det.weights.archs import ARCHS

try:
    import mmseg  # noqa: F401
except (ImportError, AssertionError) as error:  # it refuses mmcv 2.2 and newer
    pytest.skip(
        f'needs pip install mmsegmentation==1.2.2 ftfy regex: {error}',
        allow_module_level=True,
    )

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'configs' / 'segmentation'
CONFIGS = sorted(path.name for path in FOLDER.glob('*.py'))


def pictures(dataset):
    """Two images and their maps of classes, where a data set's config looks
    for them."""
    rng = np.random.RandomState(0)
    root, prefix = Path(dataset.data_root), dataset.data_prefix
    ade = dataset.type == 'ADE20KDataset'
    image, labels = (
        ('.jpg', '.png') if ade else ('_leftImg8bit.png', '_gtFine_labelTrainIds.png')
    )
    for i in range(2):
        for folder, end, values in (
            (prefix.img_path, image, rng.randint(0, 256, (80, 160, 3))),
            (prefix.seg_map_path, labels, rng.randint(0, 19, (80, 160))),
        ):
            path = root / folder / ('' if ade else 'town') / f'{i}{end}'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype('uint8')).save(path)


@pytest.fixture(autouse=True)
def scope():
    """MMSegmentation's scope here, MMDetection's for what comes after."""
    init_default_scope('mmseg')
    yield
    init_default_scope('mmdet')


@pytest.fixture(params=CONFIGS)
def small(request, tmp_path):
    """A config cut to two steps on small images, with one block a stage."""
    cfg = Config.fromfile(FOLDER / request.param)
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(tmp_path / 'data')
        pictures(loader.dataset)
        for transform in loader.dataset.pipeline:
            if 'scale' in transform:
                transform.scale = (160, 80)
            if 'crop_size' in transform:
                transform.crop_size = (64, 96)
    cfg.model.data_preprocessor.size = (64, 96)
    cfg.model.backbone.update(
        init_cfg=None, arch=ARCHS['m']._replace(depths=(1, 1, 1, 1))._asdict()
    )
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.work_dir = str(tmp_path / 'run')
    cfg.experiment_name = f'{request.param} {tmp_path.name}'
    return cfg


def test_trains_and_evaluates(small):
    runner = Runner.from_cfg(small)
    before = {
        k: v.clone()
        for k, v in runner.model.state_dict().items()
        if k.startswith('backbone.') and v.is_floating_point()
    }
    runner.train()
    metrics = runner.test()
    after = runner.model.state_dict()
    assert runner.iter == 2
    assert all(after[key].isfinite().all() for key in before)
    # All move: weights are trained, statistics are followed.
    assert not [key for key in before if torch.equal(before[key], after[key])]
    assert {'aAcc', 'mIoU'} <= {*metrics}
    assert 0 < metrics['aAcc'] <= 100


def test_input_is_rgb_in_0_1(small):
    from mmseg.registry import MODELS

    processor = MODELS.build(small.model.data_preprocessor)
    colour = torch.tensor([255, 51, 0], dtype=torch.uint8)  # BGR, as loaded
    image = colour[:, None, None].expand(3, 64, 96)
    inputs = processor(dict(inputs=[image]))['inputs']
    assert inputs[0, :, 0, 0].tolist() == pytest.approx([0, 0.2, 1])


def test_metafile_and_readme_list_the_configs():
    models = load(FOLDER / 'metafile.yml')['Models']
    assert [model['Name'] for model in models] == [
        Path(model['Config']).stem for model in models
    ]
    assert sorted(Path(m['Config']).name for m in models) == CONFIGS
    readme = (FOLDER / 'README.md').read_text()
    for model in models:
        cfg = Config.fromfile(ROOT / model['Config'])
        assert model['Metadata']['Iterations'] == cfg.train_cfg.max_iters
        assert f'({model["Name"]}.py)' in readme


def test_config_in_the_readme(tmp_path):
    """A config of one's own, and ours of the same base, are one model."""
    block = re.search(
        r'```python\n(.*?)```', (FOLDER / 'README.md').read_text(), re.S
    ).group(1)
    (tmp_path / 'config.py').write_text(block)
    assert (
        Config.fromfile(tmp_path / 'config.py').model
        == Config.fromfile(FOLDER / 'fpn_tresnet-m_4xb4-160k_ade20k-512x512.py').model
    )
