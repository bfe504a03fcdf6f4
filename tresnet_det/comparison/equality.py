"""What counts as the same training: nothing unequal is ever averaged."""

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..common.errors import UserError
from ..data.wrapped_datasets import innermost_datasets

__all__ = [
    'annotations_of',
    'check_batch',
    'classes_of',
    'dataset_of',
    'differences',
    'digest',
    'evaluator_of',
]

# What a training reads; other keys are helper variables that a config
# computes these from, or say where and how a run is shown.
_READ = frozenset(
    (
        'model',
        'train_dataloader',
        'val_dataloader',
        'val_evaluator',
        'train_cfg',
        'val_cfg',
        'optim_wrapper',
        'param_scheduler',
        'auto_scale_lr',
        'custom_hooks',
        'default_hooks',
        'load_from',
        'runner_type',
        'randomness',
        'data_preprocessor',
        'sync_bn',
        'compile',
        'model_wrapper_cfg',
        'find_unused_parameters',
        'skip_corrupt_images',
        'allow_class_subset',
    )
)
# Within these: how a run is logged, and where its data lie, of which the
# annotations are compared by content.
# A teacher's file is another for each seed; what it holds is compared when a
# training goes on.
_CIRCUMSTANCES = (
    'randomness.seed',
    'default_hooks.logger',
    'val_evaluator.ann_file',
    'model.teacher.checkpoint',
    'model.student.checkpoint',
)
_PLACES = ('_scope_', '.data_root', '.ann_file')


def _leaves(value: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a nested config, lists by index."""
    if isinstance(value, Mapping) and value:
        for key in value:
            yield from _leaves(value[key], f'{name}.{key}' if name else key)
    elif isinstance(value, (list, tuple)) and any(
        isinstance(item, (Mapping, list, tuple)) for item in value
    ):
        for index, item in enumerate(value):
            yield from _leaves(item, f'{name}.{index}')
    else:
        yield name, list(value) if isinstance(value, tuple) else value


def _read_by_run(cfg: Config) -> dict[str, Any]:
    """Dotted names and values of all that decides what a run computes."""
    used = {key: value for key, value in cfg.to_dict().items() if key in _READ}
    if not used.get('auto_scale_lr', {}).get('enable'):
        used.pop('auto_scale_lr', None)
    leaves = {
        name: value
        for name, value in _leaves(used)
        if not f'{name}.'.startswith(tuple(f'{c}.' for c in _CIRCUMSTANCES))
        and not name.endswith(_PLACES)
    }
    for split, found in annotations_of(cfg).items():
        leaves[f'annotations.{split}'] = found
    return leaves


def differences(one: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """Where two trainings differ, but for seeds, places and logging.

    Annotation files count by their content (``annotations.train``).

    Returns:
        Dotted name -> both values, None where one says nothing.
    """
    left, right = _read_by_run(one), _read_by_run(other)
    if one.get('resume') or other.get('resume'):
        # MMDetection's --resume takes load_from out of the config.
        left.pop('load_from', None)
        right.pop('load_from', None)
    return {
        name: (left.get(name), right.get(name))
        for name in sorted({*left, *right})
        if left.get(name) != right.get(name)
    }


@cache
def _sha256(file: Path, _changed: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def digest(file: Path) -> str:
    """The sha256 of a file; the path of one that is not there."""
    if not file.is_file():
        return str(file)
    return _sha256(file, file.stat().st_mtime_ns)


def annotations_of(cfg: Config) -> dict[str, list[str]]:
    """Digests of the annotation files of the splits.

    A run that was planned here wrote them down; they hold where the files
    have been moved since.
    """
    written: Mapping | None = cfg.get('compared_annotations')
    if written:
        return {split: list(found) for split, found in written.items()}
    return {
        split: [
            digest(Path(part.get('data_root') or '', part['ann_file']))
            for part in innermost_datasets(cfg[f'{split}_dataloader'].dataset)
            if part.get('ann_file')
        ]
        for split in ('train', 'val')
        if cfg.get(f'{split}_dataloader')
    }


def dataset_of(loader: Config) -> Config:
    """The data set of a loader's config inside its wrappers, if any.

    Raises:
        UserError: It is several data sets.
    """
    found = list(innermost_datasets(loader.dataset))
    if len(found) != 1:
        raise UserError(
            f'a comparison needs one data set to evaluate on, not '
            f'the {len(found)} of {loader.dataset.type}'
        )
    return found[0]


def evaluator_of(cfg: Config) -> Config:
    """The one COCO metric that the val split is evaluated by.

    Raises:
        UserError: There is none, or more than one.
    """
    evaluator = cfg.get('val_evaluator')
    if isinstance(evaluator, (list, tuple)) and len(evaluator) == 1:
        evaluator = evaluator[0]
    if not isinstance(evaluator, Mapping) or not evaluator.get('ann_file'):
        raise UserError(
            f'{cfg.filename}: val_evaluator is {evaluator}, but a comparison '
            'needs one CocoMetric with an ann_file'
        )
    return evaluator


def classes_of(cfg: Config) -> tuple[str, ...] | None:
    """The class names that the val data set is given, None for its own."""
    meta = dataset_of(cfg.val_dataloader).get('metainfo') or {}
    return tuple(meta['classes']) if 'classes' in meta else None


def check_batch(cfg: Config, processes: int) -> None:
    """Refuses learning rates that are meant for another batch.

    Raises:
        UserError: The batch over all processes is not the one that
            ``auto_scale_lr`` names, and the rate is not scaled.
    """
    scale = cfg.get('auto_scale_lr') or {}
    base, images = (scale.get('base_batch_size'), cfg.train_dataloader.batch_size)
    steps = cfg.optim_wrapper.get('accumulative_counts', 1)
    batch = images * processes * steps
    if base and base != batch and not scale.get('enable'):
        raise UserError(
            f'{cfg.filename}: its learning rate is for batches of {base} '
            f'images, but {processes} processes x {images} images are '
            f'{batch}. Give the right --gpus, or scale the rate: '
            '--cfg-options auto_scale_lr.enable=True, or say that it is meant '
            f'for this batch: auto_scale_lr.base_batch_size={batch}'
        )
