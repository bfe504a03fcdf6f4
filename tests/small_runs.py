"""Small detectors of our configs on a handful of pictures, through the whole
pipeline of MMDetection."""

import json
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from mmdet.registry import RUNNERS
from mmengine.config import Config

CONFIGS = Path(__file__).parents[1] / 'configs'
DETECTORS = dict(
    fcos=(
        'fcos/fcos_tresnet-m_fpn_1x_coco.py',
        dict(
            bbox_head=dict(in_channels=32, feat_channels=64, stacked_convs=1),
            test_cfg=dict(score_thr=0),
        ),
    ),
    faster_rcnn=(
        'faster_rcnn/faster-rcnn_tresnet-m_fpn_1x_coco.py',
        dict(
            rpn_head=dict(in_channels=32, feat_channels=32),
            roi_head=dict(
                bbox_roi_extractor=dict(out_channels=32),
                bbox_head=dict(in_channels=32, fc_out_channels=32),
            ),
            test_cfg=dict(rcnn=dict(score_thr=0)),
        ),
    ),
)
SIZE = 64


@lru_cache
def read(name):
    return Config.fromfile(CONFIGS / name)


def box(image_id, x, y, w, h, category=1, **options):
    """An annotation without its id."""
    return dict(
        dict(
            image_id=image_id,
            category_id=category,
            area=w * h,
            bbox=[x, y, w, h],
            iscrowd=0,
        ),
        **options,
    )


def coco(annotations, classes=('thing',), num_images=2):
    """COCO annotations of square pictures."""
    return dict(
        images=[
            dict(id=k, file_name=f'{k}.png', width=SIZE, height=SIZE)
            for k in range(1, num_images + 1)
        ],
        annotations=[
            dict(annotation, id=k) for k, annotation in enumerate(annotations, start=1)
        ],
        categories=[dict(id=k, name=name) for k, name in enumerate(classes, start=1)],
    )


def write_data(root, content):
    """Pictures of noise and the annotations, for training and validation."""
    (root / 'images').mkdir(parents=True)
    rng = np.random.default_rng(0)
    for image in content['images']:
        cv2.imwrite(
            str(root / 'images' / image['file_name']),
            rng.integers(0, 256, (image['height'], image['width'], 3), np.uint8),
        )
    (root / 'ann.json').write_text(json.dumps(content))
    return root


def small_config(detector, root, work_dir, classes=('thing',), **options):
    """Two epochs of one of our configs with a tiny TResNet."""
    name, heads = DETECTORS[detector]
    cfg = deepcopy(read(name))
    cfg.model.backbone = dict(
        type='TResNet', arch=dict(depths=(1, 1, 1, 1), width=8), norm_eval=False
    )
    cfg.merge_from_dict(
        dict(
            model=dict(
                neck=dict(in_channels=[8, 16, 128, 256], out_channels=32), **heads
            ),
            train_cfg=dict(max_epochs=2, val_interval=2),
            work_dir=str(work_dir),
            randomness=dict(seed=0),
        )
    )
    head = cfg.model.get('bbox_head') or cfg.model.roi_head.bbox_head
    head.num_classes = len(classes)
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
        loader.dataset.update(
            data_root=str(root),
            ann_file='ann.json',
            serialize_data=False,
            data_prefix=dict(img='images'),
            metainfo=dict(classes=classes),
        )
        for transform in loader.dataset.pipeline:
            if transform.type == 'Resize':
                transform.scale = (SIZE, SIZE)
        if split != 'train':
            cfg[f'{split}_evaluator'].ann_file = str(root / 'ann.json')
    cfg.merge_from_dict(options)
    # MMEngine keeps loggers and visualizers by name, for the whole process.
    cfg.experiment_name = cfg.visualizer.name = str(work_dir)
    return cfg


def small_run(*args, **options):
    """The runner of a small config."""
    return RUNNERS.build(small_config(*args, **options))
