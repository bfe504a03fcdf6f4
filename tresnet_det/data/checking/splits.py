"""Which annotation files and folders of images are to be checked."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...common.config_files import read_config
from ...common.errors import UserError
from ..wrapped_datasets import innermost_datasets

__all__ = ['DataSet', 'Split', 'named_splits', 'splits_of_config']

FILTERS = dict(filter_empty_gt=True, min_size=32)  # of MMDetection's COCO configs


@dataclass
class Split:
    """One annotation file and its images.

    Attributes:
        name: For messages: 'train', 'val'.
        ann_file: Its path.
        folder: Of the images; None if they are not looked at.
        test_mode: It is evaluated on.
        classes: Of the config; None for all categories.
        filters: MMDetection's ``filter_cfg``.
        masks: The step of the pipeline that loads masks, if any.
        backend_args: MMEngine's.
    """

    name: str
    ann_file: Path
    folder: Path | None
    test_mode: bool = False
    classes: tuple[str, ...] | None = None
    filters: Mapping[str, Any] = field(default_factory=lambda: dict(FILTERS))
    masks: Mapping[str, Any] | None = None
    backend_args: dict | None = None


@dataclass
class DataSet:
    """The splits, and what a config says of the training.

    Attributes:
        splits: All of them.
        scale: Longest and shortest side of an image in training, if known.
        head: ``strides``, ``regress_ranges`` and ``anchors`` (scale) of the
            config, where it has them.
        allow_subset: ``allow_class_subset`` of the config.
        allow_missing: ``skip_corrupt_images`` of the config.
        passed: Types of data sets that are not COCO's and were passed over.
    """

    splits: list[Split]
    scale: tuple[int, int] | None = None
    head: dict[str, Any] = field(default_factory=dict)
    allow_subset: bool = False
    allow_missing: bool = False
    passed: list[str] = field(default_factory=list)


def named_splits(sources: Sequence[Path], with_images: bool = True) -> DataSet:
    """Splits named on a command line.

    Args:
        sources: Annotation files, each followed by its folder of images, if
            this is wanted. The first is trained on.
        with_images: Look at the images.

    Raises:
        UserError: Something is not there or stands in the wrong place.
    """
    splits: list[Split] = []
    for source in sources:
        if source.is_dir():
            if not splits or splits[-1].folder:
                raise UserError(
                    f'{source} is a folder: expected an annotation file before it, '
                    'as in train.json train/ val.json val/'
                )
            splits[-1].folder = source
        elif source.is_file() or source.suffix.lower() == '.json':
            evaluated = bool(splits)
            filters = {} if evaluated else dict(FILTERS)
            splits.append(Split(source.stem, source, None, evaluated, filters=filters))
        elif splits and not splits[-1].folder:
            raise UserError(f'the folder of images {source} does not exist')
        else:
            raise UserError(f'{source} does not exist')
    names = Counter(split.name for split in splits)
    for split in splits:
        if names[split.name] > 1:
            split.name = str(split.ann_file)
        if not with_images:
            split.folder = None
    files = Counter(split.ann_file.resolve() for split in splits)
    twice = [str(file) for file, count in files.items() if count > 1]
    if twice:
        raise UserError(f'{twice[0]} is given twice')
    return DataSet(splits)


def splits_of_config(config: Path, with_images: bool = True) -> DataSet:
    """The data sets of MMDetection's COCO kind in a config.

    Args:
        config: Its path.
        with_images: Look at the images.

    Raises:
        UserError: It cannot be read, or has no such data set to train on.
    """
    cfg = read_config(config, ('train_dataloader',))
    # Late: it imports much of MMDetection.
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    data = DataSet(
        [],
        _scale(cfg.train_dataloader.get('dataset')),
        _head(cfg.get('model') or {}),
        bool(cfg.get('allow_class_subset', False)),
        bool(cfg.get('skip_corrupt_images', False)),
    )
    known = set()
    for kind in ('train', 'val', 'test'):
        loader = cfg.get(f'{kind}_dataloader') or {}
        parts = [
            part
            for part in innermost_datasets(loader.get('dataset'))
            if isinstance(part, Mapping)
        ]
        for number, part in enumerate(parts, 1):
            split = _split(part, kind if len(parts) == 1 else f'{kind} {number}', data)
            if split and (split.ann_file, split.folder) not in known:
                known.add((split.ann_file, split.folder))
                split.folder = split.folder if with_images else None
                data.splits.append(split)
    if not data.splits:
        raise UserError(
            f'{config} has no data set in COCO form'
            + (f', but {", ".join(data.passed)}' if data.passed else '')
        )
    return data


def _split(part: Mapping[str, Any], name: str, data: DataSet) -> Split | None:
    from mmdet.registry import DATASETS

    from ..coco_datasets import holds_coco, loads_masks

    try:
        if not holds_coco(part):
            data.passed.append(f'{part["type"]} ({name})')
            return None
        # Built without reading anything, it resolves paths and defaults.
        built = DATASETS.build(dict(part, lazy_init=True))
    except Exception as error:  # a config can say anything
        raise UserError(
            f'the data set of {name} cannot be built: {type(error).__name__}: {error}'
        ) from error
    classes = built.metainfo['classes']
    if isinstance(classes, str):
        classes = (classes,)
    return Split(
        name,
        Path(built.ann_file),
        Path(built.data_prefix.get('img', '') or '.'),
        built.test_mode,
        tuple(classes),
        {} if built.test_mode else dict(built.filter_cfg or {}),
        loads_masks(part.get('pipeline')),
        built.backend_args,
    )


def _scale(value: Any) -> tuple[int, int] | None:
    """Of the first Resize in a pipeline, in any nesting; the largest of several."""
    if isinstance(value, Mapping):
        if 'Resize' in str(value.get('type')):
            scale = value.get('scale', value.get('scales'))
            if isinstance(scale, (list, tuple)) and scale:
                pairs = scale if isinstance(scale[0], (list, tuple)) else [scale]
                best = max((sorted(pair) for pair in pairs), key=lambda pair: pair[0])
                return int(best[-1]), int(best[0])
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return next(filter(None, map(_scale, value)), None)
    return None


def _head(model: Mapping[str, Any]) -> dict[str, Any]:
    head = model.get('bbox_head') or model.get('rpn_head') or {}
    anchors = head.get('anchor_generator') or {}
    found = dict(
        strides=head.get('strides') or anchors.get('strides'),
        regress_ranges=head.get('regress_ranges'),
        anchor_scale=anchors.get('octave_base_scale'),
    )
    return {key: value for key, value in found.items() if value}
