"""Will the figures be of the data set's own images and classes, and right?

MMDetection finds out after the last image, or never: where an evaluator names
another file whose ids happen to agree, the AP is near 0.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.evaluation.metrics import CocoMetric
from mmdet.registry import DATASETS, METRICS

from ...common.errors import UserError, some
from ...data.annotation_checks import check_annotations
from ...data.annotation_files import read_annotations
from ...data.coco_datasets import holds_coco
from ...data.mask_checks import check_masks
from ...data.same_annotations import differences
from ...data.wrapped_datasets import innermost_datasets
from ...evaluation.numbered_coco import NumberedCocoMetric

__all__ = ['check_evaluator', 'right_for_any_ids']


def right_for_any_ids(evaluator: Any) -> Any:
    """The config of an evaluator with ours in place of ``CocoMetric``.

    Args:
        evaluator: One metric, a list of them or a dict with 'metrics'; left
            as it is.
    """
    if isinstance(evaluator, (list, tuple)):
        return type(evaluator)(map(right_for_any_ids, evaluator))
    if not isinstance(evaluator, Mapping):
        return evaluator
    if 'metrics' in evaluator:
        return dict(evaluator, metrics=right_for_any_ids(evaluator['metrics']))
    if _kind(evaluator) is CocoMetric:
        return dict(evaluator, type=NumberedCocoMetric)
    return evaluator


def check_evaluator(evaluator: Any, dataloader: Any) -> None:
    """Checks that COCO figures are computed on the data set's own boxes.

    Args:
        evaluator: One metric of the config or a list of them.
        dataloader: What the config says of its data.

    Raises:
        UserError: The evaluator's annotation file cannot be read, is of other
            images, boxes or classes, lacks masks that are evaluated, or has
            ids that its metric takes wrong.
    """
    dataset = dataloader['dataset'] if isinstance(dataloader, Mapping) else dataloader
    parts = [
        part
        for part in innermost_datasets(dataset)
        if isinstance(part, Mapping) and part.get('ann_file') and _is_kind_of_coco(part)
    ]
    if not parts:
        return
    sets = [DATASETS.build(dict(part, lazy_init=True)) for part in parts]
    for metric in _metrics(evaluator):
        file = metric.get('ann_file')
        kind = _kind(metric)
        if not file or not (isinstance(kind, type) and issubclass(kind, CocoMetric)):
            continue
        _check_metric(metric, kind, file, sets, all(map(holds_coco, parts)))


def _check_metric(
    metric: Mapping[str, Any],
    kind: type,
    file: str,
    sets: list[CocoDataset],
    plain: bool,
) -> None:
    """Checks one metric.

    Args:
        metric: Its config.
        kind: Its class.
        file: Its annotation file.
        sets: What it evaluates.
        plain: They read annotations as ``CocoDataset`` does.
    """
    files = [part.ann_file for part in sets]
    options = metric.get('metric', 'bbox')
    masks = 'segm' in ([options] if isinstance(options, str) else options)
    figures = not metric.get('format_only')
    numbers = kind is CocoMetric or issubclass(kind, NumberedCocoMetric)
    same = len(files) == 1 and _is_same_file(file, files[0])
    if same and not (masks and figures) and numbers:
        return
    content = read_annotations(file, metric.get('backend_args'))
    if not same:
        if plain:
            check_annotations(content, file, test_mode=True)
        own = _joined([read_annotations(s.ann_file, s.backend_args) for s in sets])
        found = differences(
            own, content, sets[0].metainfo.get('classes'), with_boxes=figures and plain
        )
        if found:
            raise UserError(
                f"the evaluator's ann_file {file} is not what the data set "
                f'evaluates, {" and ".join(files)}: {"; ".join(found)}. Name the '
                'same file in both'
            )
    if masks and figures:
        check_masks(content, file, sets[0].metainfo.get('classes'), evaluated=True)
    if not numbers:
        _check_ids(content, file, kind)


def _check_ids(content: Mapping[str, Any], file: str, kind: type) -> None:
    """Refuses ids that pycocotools takes wrong."""
    for part in ('images', 'categories', 'annotations'):
        ids = [entry.get('id') for entry in content.get(part) or ()]
        odd = [
            repr(i)
            for i in ids
            if not (type(i) is int and abs(i) < 2**53)
            or (part == 'annotations' and i == 0)
        ]
        if odd:
            raise UserError(
                f'{kind.__name__} evaluates by pycocotools, which takes some ids '
                f'of {part} in {file} wrong: {len(odd)}, as {some(odd)}. Take '
                "type='CocoMetric', which CheckedRunner makes right for any ids, "
                'or number them from 1'
            )


def _joined(contents: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Several sets that are evaluated together, as one."""
    joined: dict[str, Any] = dict(contents[0])
    for content in contents[1:]:
        twice = {i['id'] for i in joined['images']} & {
            i['id'] for i in content['images']
        }
        if twice:
            raise UserError(
                f'the data sets that are evaluated together have {len(twice)} ids '
                f'of images in common ({some(map(str, twice))}), so nobody can '
                'tell whose boxes are whose: number the images differently, or '
                'use one data loader for each'
            )
        names = {c['id']: c['name'] for c in content['categories']}
        ids = {c['name']: c['id'] for c in joined['categories']}
        joined['images'] = joined['images'] + content['images']
        joined['annotations'] = joined.get('annotations', []) + [
            dict(a, category_id=ids.get(names[a['category_id']]))
            for a in content.get('annotations', ())
        ]
    return joined


def _is_same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one is not there, or not on this machine
        return os.path.abspath(one) == os.path.abspath(other)


def _metrics(evaluator: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(evaluator, (list, tuple)):
        for part in evaluator:
            yield from _metrics(part)
    elif isinstance(evaluator, Mapping):
        if 'metrics' in evaluator:
            yield from _metrics(evaluator['metrics'])
        else:
            yield evaluator


def _kind(metric: Mapping[str, Any]) -> Any:
    kind = metric.get('type')
    return METRICS.get(kind) if isinstance(kind, str) else kind


def _is_kind_of_coco(part: Mapping[str, Any]) -> bool:
    kind = part['type']
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, CocoDataset)
