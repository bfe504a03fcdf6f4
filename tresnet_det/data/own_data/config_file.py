"""The config that trains on a set: a delta of at most 25 lines on our bases."""

from pathlib import Path
from typing import Any

from mmengine.config import Config

from ...common.errors import UserError
from ..proposal import Proposal, propose

__all__ = ['FAMILIES', 'config_text']

FAMILIES = ('fcos', 'retinanet', 'atss', 'gfl', 'faster_rcnn')
FEW = 1000  # train images: below, FCOS starts small, from random weights
CONFIGS = Path(__file__).parents[2] / '.mim' / 'configs'
_SMALL = '_base_/small/short-schedule.py'


def starts_small(family: str, weights: str | None, num_train: int) -> bool:
    """Whether to train a small head from random weights.

    Raises:
        UserError: It is asked for, and the family has no such base.
    """
    if weights == 'random' and family != 'fcos':
        raise UserError(
            f'--weights random goes with --family fcos alone; {family} starts from '
            'pre-trained weights'
        )
    few = weights is None and family == 'fcos' and num_train < FEW
    return few or weights == 'random'


def base_of(family: str, arch: str, small: bool) -> str:
    """The config of ours to build on.

    Raises:
        UserError: There is none.
    """
    if small:
        return _SMALL
    name = f'{family}/{family.replace("_", "-")}_tresnet-{arch}_fpn_1x_coco.py'
    if family not in FAMILIES or not (CONFIGS / name).exists():
        there = sorted(
            path.name.removesuffix('_fpn_1x_coco.py').replace('_tresnet-', ' ')
            for family in FAMILIES
            for path in (CONFIGS / family).glob('*_fpn_1x_coco.py')
        )
        raise UserError(
            f'there is no config for {family} {arch}; there are {", ".join(there)}'
        )
    return name


def config_text(
    train_json: Path,
    out: Path,
    splits: dict[str, int],
    classes: list[str],
    arch: str,
    family: str,
    size: tuple[int, int] | None,
    weights: str | None,
    epochs: int | None = None,
) -> str:
    """The text of the config.

    Args:
        train_json: COCO annotations of the train split.
        out: The set's folder, where the config will lie.
        splits: Name of each split -> its images.
        classes: In the order of the annotation files.
        arch: Of the backbone.
        family: Of the detector.
        size: Longest and shortest side of an image; None as proposed.
        weights: 'random', 'pretrained' (those of our configs), or the path of a
            file; None chooses by the number of images.
        epochs: None as proposed.

    Raises:
        UserError: No base has this family and arch.
    """
    small = starts_small(family, weights, splits['train'])
    base = base_of(family, arch, small)
    ours = propose(train_json, arch, scale=size)
    why = ours.reasons
    counts = ', '.join(f'{count} {name}' for name, count in splits.items())
    test = 'test' if 'test' in splits else 'val'
    levels = family == 'fcos'
    lines = [
        f'# {family.upper()}, TResNet-{arch.upper()}: {counts} images, '
        f'{len(classes)} classes. To train:',
        f'#     python tools/train.py {out / "config.py"}',
        f"_base_ = 'tresnet_det::{base}'",
        f'classes = {(*classes,)!r}',
        f'scale = {ours.scale!r}  # {why["scale"]}',
    ]
    if levels:
        lines += [
            f'strides = {[*ours.strides]!r}  # {why["strides"]}',
            f'regress_ranges = {ours.regress_ranges!r}  # {why["regress_ranges"]}',
        ]
    lines += [
        f'batch_size = {ours.batch_size}  # {why["batch_size"]}',
        f'max_epochs = {epochs or ours.epochs}  # '
        + ('as asked for' if epochs else why['epochs']),
        '# What follows needs no change.',
        "data_root, metainfo = '{{ fileDirname }}/', dict(classes=classes)",
        'train, val, test = (dict(data_root=data_root, metainfo=metainfo, '
        "ann_file=f'annotations/{s}.json', data_prefix=dict(img=f'{s}/')) "
        f"for s in ('train', 'val', '{test}'))",
        *_model(family, arch, small, weights, ours),
        'train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline',
        'train_pipeline[2].scale = test_pipeline[1].scale = scale',
        "train_pipeline[3] = dict(type='RandomFlip', prob=0.5)  # 0 where a mirrored "
        'object is another one, as a letter is',
        'train_dataloader = dict(batch_size=batch_size, '
        'dataset=dict(**train, pipeline=train_pipeline))',
        'val_dataloader, test_dataloader = (dict(dataset=dict(**s, '
        'pipeline=test_pipeline)) for s in (val, test))',
        "val_evaluator, test_evaluator = (dict(ann_file=data_root + s['ann_file']) "
        'for s in (val, test))',
        'train_cfg = dict(max_epochs=max_epochs, val_interval=1)',
        *_schedule(small),
        "custom_hooks = [*_base_.custom_hooks, dict(type='ValLossHook'), "
        "dict(type='ProgressPage')]",
        f'work_dir = {str(Path("work_dirs", out.resolve().name))!r}',
    ]
    return '\n'.join(lines) + '\n'


def _model(
    family: str, arch: str, small: bool, weights: str | None, ours: Proposal
) -> list[str]:
    """What of the model differs from the base."""
    backbone: dict[str, Any] = {}
    neck: dict[str, Any] = {}
    if small and arch != 'm':
        backbone['arch'] = arch
        tresnet = Config.fromfile(CONFIGS / '_base_' / f'tresnet-{arch}.py').tresnet
        neck['in_channels'] = [*tresnet.neck.in_channels]
    if not small and weights not in (None, 'pretrained'):
        backbone['init_cfg'] = dict(checkpoint=weights)
    head = 'num_classes=len(classes)'
    parts = []
    if family == 'fcos':
        head += ', strides=strides, regress_ranges=regress_ranges'
        parts.append(f'neck=dict(num_outs=len(strides){_more(neck)})')
    if family == 'retinanet':
        head += f', anchor_generator=dict(octave_base_scale={ours.anchor_scale})'
    head = f'bbox_head=dict({head})'
    parts.append(f'roi_head=dict({head})' if family == 'faster_rcnn' else head)
    if backbone:
        parts.insert(0, f'backbone={backbone!r}')
    reason = f'  # {ours.reasons["anchor_scale"]}' if family == 'retinanet' else ''
    return [f'model = dict({", ".join(parts)}){reason}']


def _more(fields: dict) -> str:
    return ''.join(f', {name}={value!r}' for name, value in fields.items())


def _schedule(small: bool) -> list[str]:
    """The base's, for as many epochs as are asked for."""
    if small:
        return [
            'param_scheduler = _base_.param_scheduler',
            'param_scheduler[1].T_max = max_epochs',
        ]
    return [
        'param_scheduler = _base_.param_scheduler',
        'param_scheduler[1].update(end=max_epochs, milestones='
        '[max_epochs * 2 // 3, max_epochs * 11 // 12])',
        'auto_scale_lr = dict(enable=True)  # the rate is for 16 images a step',
    ]
