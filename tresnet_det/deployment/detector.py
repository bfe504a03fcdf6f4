"""The detector of a config and a checkpoint, and the images of its splits."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor

from ..common.errors import UserError
from ..training.runner.checkpoint_checks import check_fit
from ..weights.files import read_weights

__all__ = ['Batch', 'Detector', 'batches', 'load_detector']


@dataclass
class Detector:
    """A detector as MMDetection runs it.

    Attributes:
        model: In eval(), float32, on the CPU.
        config: Its config.
        classes: Names, in the order of the labels.
        checkpoint_sha256: Of the checkpoint file.
    """

    model: Any
    config: Config
    classes: list[str]
    checkpoint_sha256: str

    @property
    def head(self) -> Any:
        """The part that predicts boxes; None where there is none."""
        roi = getattr(self.model, 'roi_head', None)
        return getattr(self.model, 'bbox_head', getattr(roi, 'bbox_head', None))

    @property
    def preprocess(self) -> dict[str, Any]:
        """How an image becomes an input, for the file's remarks."""
        normaliser, resize = self.model.data_preprocessor, self._resize()
        normalises = getattr(normaliser, '_enable_normalize', False)
        mean = normaliser.mean if normalises else torch.zeros(3)
        std = normaliser.std if normalises else torch.ones(3)
        scale = resize.get('scale', (1333, 800))
        return dict(
            scale=[int(side) for side in scale],
            keep_ratio=bool(resize.get('keep_ratio', False)),
            interpolation=resize.get('interpolation', 'bilinear'),
            mean=[float(v) for v in mean.flatten()],
            std=[float(v) for v in std.flatten()],
            bgr_to_rgb=bool(getattr(normaliser, '_channel_conversion', False)),
            pad_size_divisor=int(getattr(normaliser, 'pad_size_divisor', 1)),
            pad_value=float(getattr(normaliser, 'pad_value', 0)),
        )

    def _resize(self) -> dict[str, Any]:
        for step in _pipeline(self.config, 'test') or _pipeline(self.config, 'val'):
            if step.get('type') in ('Resize', 'FixScaleResize', 'mmdet.Resize'):
                return step
        return {}


def load_detector(config: Path, checkpoint: Path, options: dict | None) -> Detector:
    """Builds a detector and loads its weights, wholly or not at all.

    Raises:
        UserError: The config is none, or the checkpoint does not fit it.
    """
    if not config.is_file():
        raise UserError(f'{config} is not there; expected is the config of a detector')
    try:
        cfg = Config.fromfile(config)
        cfg.merge_from_dict(options or {})
    except Exception as error:  # a config is a program: anything can fail
        raise UserError(
            f'the config {config}, or --cfg-options, cannot be read: '
            f'{type(error).__name__}: {error}'
        ) from error
    if 'model' not in cfg:
        raise UserError(f'{config} has no model; expected is the config of a detector')
    # The checkpoint has all weights: nothing is downloaded for a start.
    cfg.model.init_cfg = None
    if 'backbone' in cfg.model:
        cfg.model.backbone.init_cfg = None
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    state, meta = read_weights(checkpoint)
    try:
        model = MODELS.build(cfg.model)
    except (TypeError, KeyError, ValueError, AssertionError) as error:
        raise UserError(
            f'the model of {config} cannot be built: {type(error).__name__}: {error}'
        ) from error
    model.load_state_dict(
        {name.removeprefix('module.'): value for name, value in _fitting(model, state)},
        strict=False,
    )
    check_fit(model, {'state_dict': state}, str(checkpoint))
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    detector = Detector(model.eval().requires_grad_(False), cfg, [], digest)
    count = getattr(detector.head, 'num_classes', None)
    detector.classes = _classes(cfg, meta, count)
    return detector


def _fitting(
    model: nn.Module, state: dict[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    # load_state_dict fails at another shape before check_fit can tell of it.
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    for name, value in state.items():
        # An older name is the model's to know.
        if shapes.get(name.removeprefix('module.'), value.shape) == value.shape:
            yield name, value


def _classes(cfg: Config, meta: dict[str, Any], count: int | None) -> list[str]:
    known = dict(meta.get('dataset_meta') or {}).get('classes')
    if known is None:
        known = (_dataset(cfg, 'test').get('metainfo') or {}).get('classes')
    if known is None:
        from mmdet.evaluation import get_classes

        known = get_classes('coco') if count == 80 else ()
    names = [known] if isinstance(known, str) else [str(name) for name in known]
    if count is not None and len(names) != count:
        raise UserError(
            f'the head has {count} classes, and {len(names)} names of classes were '
            'found in the checkpoint or in test_dataloader.dataset.metainfo; set '
            'metainfo=dict(classes=(...)) in the config'
        )
    return names


def _dataset(cfg: Config, split: str) -> dict[str, Any]:
    dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset') or {}
    while 'dataset' in dataset:  # RepeatDataset and its kin
        dataset = dataset['dataset']
    return dataset


def _pipeline(cfg: Config, split: str) -> list[dict[str, Any]]:
    return _dataset(cfg, split).get('pipeline') or []


@dataclass
class Batch:
    """Images as a dataloader hands them out.

    Attributes:
        data: For the model's data_preprocessor.
        inputs: (N, 3, H, W) float32, normalised and padded.
        raw: (N, 3, H, W) uint8 in the order of the file, padded.
        samples: One for each image, with its sizes.
    """

    data: dict[str, Any]
    inputs: np.ndarray
    raw: np.ndarray
    samples: list[Any]

    @property
    def sizes(self) -> np.ndarray:
        """(N, 2), int64: height and width without padding."""
        return np.array([s.img_shape[:2] for s in self.samples], np.int64)


def batches(
    detector: Detector, split: str, most: int | None, batch_size: int | None = None
) -> tuple[Any, Iterator[Batch]]:
    """The images of a split, prepared as for evaluation.

    Args:
        detector: Whose config names the data.
        split: 'train' or 'val'; images of both are prepared as for testing.
        most: Number of images; None for all.
        batch_size: None for the config's.

    Returns:
        The dataset and its batches.

    Raises:
        UserError: The config names no such data, or they are not there.
    """
    cfg = detector.config.copy()
    loader = cfg.get('val_dataloader') or cfg.get('test_dataloader')
    if not loader:
        raise UserError('the config has no val_dataloader')
    loader = loader.copy()
    if split == 'train':
        source = dict(_dataset(cfg, 'train'))
        if not source:
            raise UserError('the config has no train_dataloader')
        source['pipeline'] = _pipeline(cfg, 'test') or _pipeline(cfg, 'val')
        source.update(test_mode=True, filter_cfg=None)
        loader['dataset'] = source
    if most is not None:
        loader['dataset'] = dict(loader['dataset'], indices=most)
    if batch_size is not None:
        loader['batch_size'] = batch_size
    loader.update(num_workers=0, persistent_workers=False)
    loader['sampler'] = dict(type='DefaultSampler', shuffle=False)
    loader.pop('batch_sampler', None)
    try:
        built = Runner.build_dataloader(loader)
    except FileNotFoundError as error:
        raise UserError(f'the {split} split is not there: {error}') from error
    return built.dataset, _batches(detector, built)


def _batches(detector: Detector, loader: Any) -> Iterator[Batch]:
    normalise = detector.model.data_preprocessor
    for data in loader:
        prepared = normalise(dict(data), False)
        inputs = prepared['inputs']
        raw = padded(list(data['inputs']), inputs.shape[2:], detector.preprocess)
        yield Batch(data, inputs.numpy(), raw.numpy(), prepared['data_samples'])


def padded(images: list[Tensor], size: Any, preprocess: dict[str, Any]) -> Tensor:
    """uint8 images with the grey level that is nearest to padding afterwards."""
    level = torch.tensor(preprocess['mean']) + preprocess['pad_value'] * torch.tensor(
        preprocess['std']
    )
    if preprocess['bgr_to_rgb']:
        level = level.flip(0)
    level = level.round().clamp(0, 255).to(torch.uint8)
    out = level[None, :, None, None].repeat(len(images), 1, *size)
    for place, image in zip(out, images):
        place[:, : image.shape[1], : image.shape[2]] = image
    return out
