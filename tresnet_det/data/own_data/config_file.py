"""The config that trains on a set, in two files.

``config.py`` has what a person decides, in at most 25 lines; it builds on
``data.py``, which names the set's files and builds on one of our configs.
"""

import shlex
import textwrap
from pathlib import Path

from mmengine.config import Config

from ...common.errors import UserError
from ..proposal import FEW, propose, shown

__all__ = ['FAMILIES', 'config_texts']

FAMILIES = ('fcos', 'retinanet', 'atss', 'gfl', 'faster_rcnn')
CONFIGS = Path(__file__).parents[2] / '.mim' / 'configs'
_WIDTH = 88
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


def config_texts(
    train_json: Path,
    out: Path,
    splits: dict[str, int],
    classes: list[str],
    arch: str,
    family: str,
    size: tuple[int, int] | None,
    weights: str | None,
    epochs: int | None = None,
) -> dict[str, str]:
    """The texts of the two files, by their names.

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
    ours = propose(train_json, arch, scale=size, small=small)
    counts = ', '.join(f'{count} {name}' for name, count in splits.items())
    settings = ['scale', 'batch_size', 'epochs']
    if family == 'fcos':
        settings[1:1] = ['strides', 'regress_ranges']
    if family == 'retinanet':
        settings[1:1] = ['anchor_scale']
    lines = [
        f'# {family.upper()}, TResNet-{arch.upper()}: {counts} images, '
        f'{len(classes)} classes. To train:',
        f'# python tools/train.py {shlex.quote(str(out / "config.py"))}',
        '# The reasons in full: tools/check_data.py with the same path.',
        "_base_ = 'data.py'",
    ]
    for field in settings:
        value, why = getattr(ours, field), ours.reasons[field]
        if field == 'epochs' and epochs:
            value, why = epochs, 'as asked for'
        if field == 'strides':
            value = [*value]  # as in our configs
        lines += [
            f'# {textwrap.shorten(why, _WIDTH - 2, placeholder=" ...")}',
            f'{_NAMES.get(field, field)} = {shown(value)}{_NOTES.get(field, "")}',
        ]
    lines += [
        *_MODEL.get(family, ()),
        'train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline',
        'train_pipeline[2].scale = test_pipeline[1].scale = scale',
        "train_pipeline[3] = dict(type='RandomFlip', prob=0.5)  # text, arrows: 0",
        'train_dataloader = dict('
        'batch_size=batch_size, dataset=dict(pipeline=train_pipeline))',
        'val_dataloader = test_dataloader = dict(dataset=dict(pipeline=test_pipeline))',
        'train_cfg = dict(max_epochs=max_epochs, val_interval=1)',
        *_schedule(small),
    ]
    data = _DATA.format(
        base=base,
        classes=''.join(f'    {_literal(name)},\n' for name in classes),
        test='test' if 'test' in splits else 'val',
        rate='' if small else _RATE,
        model=_model(family, arch, small, weights),
        work_dir=str(Path('work_dirs', out.resolve().name)),
    )
    return {'config.py': '\n'.join(lines) + '\n', 'data.py': data}


_MODEL = {  # what follows from the settings
    'fcos': (
        # The maps of C2 or C3 are the first; another stride stops here.
        'model = dict(neck=dict('
        'start_level=(4, 8).index(strides[0]), num_outs=len(strides)))',
        "model['bbox_head'] = dict(strides=strides, regress_ranges=regress_ranges)",
    ),
    'retinanet': (
        'model = dict('
        'bbox_head=dict(anchor_generator=dict(octave_base_scale=anchor_scale)))',
    ),
}
_NAMES = {'epochs': 'max_epochs'}  # of a proposal's fields in the config
_NOTES = {'strides': '  # begins at 4, C2, or at 8, C3'}
_DATA = """# What config.py builds on: the files of this folder. It needs no change.
_base_ = 'tresnet_det::{base}'
classes = (
{classes})
data_root, metainfo = '{{{{ fileDirname }}}}/', dict(classes=classes)
train, val, test = (
    dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file=f'annotations/{{s}}.json',
        data_prefix=dict(img=f'{{s}}/'),
    )
    for s in ('train', 'val', '{test}')
)
train_dataloader, val_dataloader, test_dataloader = (
    dict(dataset=part) for part in (train, val, test)
)
val_evaluator, test_evaluator = (
    dict(ann_file=data_root + part['ann_file']) for part in (val, test)
)
model = dict({model})
{rate}custom_hooks = [
    *_base_.custom_hooks,
    dict(type='ValLossHook'),
    dict(type='ProgressPage'),
]
work_dir = {work_dir!r}
"""
_RATE = 'auto_scale_lr = dict(enable=True)  # the rate is for 16 images a step\n'


def _literal(name: str) -> str:
    """As Python writes it; mmengine would put something in the place of '{{'."""
    return repr(name).replace('{{', '{\\x7b')


def _model(family: str, arch: str, small: bool, weights: str | None) -> str:
    """What else of the model differs from the base."""
    head = 'bbox_head=dict(num_classes=len(classes))'
    parts = [f'roi_head=dict({head})' if family == 'faster_rcnn' else head]
    if small and arch != 'm':
        tresnet = Config.fromfile(CONFIGS / '_base_' / f'tresnet-{arch}.py').tresnet
        parts.append(f'backbone=dict(arch={arch!r})')
        parts.append(f'neck=dict(in_channels={[*tresnet.neck.in_channels]})')
    if not small and weights not in (None, 'pretrained'):
        parts.append(f'backbone=dict(init_cfg=dict(checkpoint={weights!r}))')
    return ''.join(f'\n    {part},' for part in parts) + '\n'


def _schedule(small: bool) -> list[str]:
    """The base's, for as many epochs as are asked for."""
    if small:
        return [
            'param_scheduler = _base_.param_scheduler',
            'param_scheduler[1].T_max = max_epochs',
        ]
    return [
        'param_scheduler = _base_.param_scheduler',
        'milestones = [max_epochs * 2 // 3, max_epochs * 11 // 12]',
        'param_scheduler[1].update(end=max_epochs, milestones=milestones)',
    ]
