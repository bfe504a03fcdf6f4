"""COCO figures whatever the ids are.

pycocotools takes an annotation with id 0, or '0', for "no match", sorts ids
and puts them into NumPy's arrays; faster-coco-eval wants 64-bit integers. So
uuids and ids of mixed types fail after the last image, and some of the others
give a perfect detector AP 0. Here everything is numbered from 1 before it is
evaluated, in the order of the file, in which MMDetection's labels are: it
takes the AP of single classes by that order too, pycocotools sorts by id.
"""

import json
import logging
import os
from collections import Counter
from collections.abc import Sequence
from types import FunctionType
from typing import Any

import numpy as np
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation.metrics import CocoMetric, coco_metric
from mmdet.registry import METRICS
from mmengine.logging import print_log

from ..common.errors import UserError, some

__all__ = ['NumberedCOCO', 'NumberedCocoMetric', 'compute_with']

USUAL_IOUS = np.linspace(0.5, 0.95, 10)


class NumberedCOCO(COCO):
    """pycocotools' annotations with all ids replaced by 1, 2, 3 ...

    Args:
        annotation_file: Path of COCO annotations; None for none.
        dataset: Their content, in place of a file; is changed.

    Attributes:
        image_numbers: Id in the file -> number.
        category_ids: Ids in the file; that of number n is at n - 1.
    """

    def __init__(
        self,
        annotation_file: str | os.PathLike | None = None,
        dataset: dict | None = None,
    ) -> None:
        super().__init__(None)
        if annotation_file is not None:
            with open(annotation_file) as file:
                dataset = json.load(file)
        self.image_numbers: dict = {}
        self._category_numbers: dict = {}
        if dataset is None:
            return
        self.dataset = dataset
        for image in dataset.get('images', ()):
            image['id'] = _number(self.image_numbers, image['id'])
        for category in dataset.get('categories', ()):
            category['id'] = _number(self._category_numbers, category['id'])
        self.category_ids = list(self._category_numbers)
        # What belongs to nothing gets a number of its own and never counts.
        images, categories = dict(self.image_numbers), dict(self._category_numbers)
        for number, annotation in enumerate(dataset.get('annotations', ()), 1):
            annotation['id'] = number
            annotation['image_id'] = _number(images, annotation['image_id'])
            annotation['category_id'] = _number(categories, annotation['category_id'])
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def createIndex(self) -> None:
        """As pycocotools', which prints two lines more."""
        anns = self.dataset.get('annotations', [])
        self.anns = {ann['id']: ann for ann in anns}
        self.imgs = {image['id']: image for image in self.dataset.get('images', [])}
        self.cats = {cat['id']: cat for cat in self.dataset.get('categories', [])}
        self.imgToAnns.clear()
        self.catToImgs.clear()
        for ann in anns:
            self.imgToAnns[ann['image_id']].append(ann)
            self.catToImgs[ann['category_id']].append(ann['image_id'])

    def loadRes(self, resFile: list[dict]) -> Any:
        """Detections as pycocotools wants them.

        Args:
            resFile: COCO results, with the ids of the file; they are replaced.

        Raises:
            UserError: They are of images or categories that are not there.
            IndexError: There are none, as in pycocotools.
        """
        numbers = {
            'image_id': self.image_numbers,
            'category_id': self._category_numbers,
        }
        for key, known in numbers.items():
            lost = {d[key] for d in resFile if d[key] not in known}
            if lost:
                types = {str(k) for k in known} & {str(k) for k in lost}
                raise UserError(
                    'the detections are of another set than the annotations: '
                    f'{len(lost)} values of {key} are not there '
                    f'({some(map(repr, lost))}; there are '
                    f'{some(map(repr, known))})'
                    + (': strings against numbers' if types else '')
                    + '. Give the files of one set'
                )
        for detection in resFile:
            for key, known in numbers.items():
                detection[key] = known[detection[key]]
        return super().loadRes(resFile)


def _number(numbers: dict, key: Any) -> int:
    return numbers.setdefault(key, len(numbers) + 1)


def _usual(thresholds: np.ndarray) -> bool:
    return len(thresholds) == 10 and np.allclose(thresholds, USUAL_IOUS)


def compute_with(evaluation: Any = None) -> FunctionType:
    """MMDetection's ``CocoMetric.compute_metrics`` on numbered annotations.

    The method says COCO and COCOeval and has no other way in; it takes these
    names for ours. Its own module stays as it is.

    Args:
        evaluation: In place of pycocotools' ``COCOeval``.
    """
    names = dict(vars(coco_metric), COCO=NumberedCOCO)
    if evaluation is not None:
        names['COCOeval'] = evaluation
    return FunctionType(CocoMetric.compute_metrics.__code__, names)


@METRICS.register_module()
class NumberedCocoMetric(CocoMetric):
    """MMDetection's ``CocoMetric``, right for any ids; takes its place under
    ``CheckedRunner``.

    Arguments, figures and files are the same. It differs where that one is
    wrong: ids (see above); an image that was evaluated twice, which is
    refused; a loader that gives some of the file's images alone, of which the
    figures then are; ``iou_thrs`` in a config, a list, which it computes with
    and fails to print. ``classwise`` takes the usual thresholds only: its
    columns for 0.50 and 0.75 are the first and the sixth.
    """

    _coco_api: Any
    iou_thrs: Any
    cat_ids: Any
    img_ids: Any
    _compute = compute_with()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.iou_thrs = np.atleast_1d(np.asarray(self.iou_thrs, float))
        if self.classwise and not _usual(self.iou_thrs):
            raise UserError(
                f'classwise=True goes with the usual IoU thresholds only, these are '
                f'{self.iou_thrs.tolist()}: leave out one of classwise and iou_thrs'
            )
        if self._coco_api is not None:
            self._coco_api = NumberedCOCO(dataset=self._coco_api.dataset)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Computes the figures, given pairs of ground truth and prediction.

        Raises:
            UserError: An image is there twice.
        """
        seen = [truth['img_id'] for truth, _ in results]
        twice = [str(key) for key, count in Counter(seen).items() if count > 1]
        if twice:
            raise UserError(
                f'{len(twice)} images were evaluated more than once (ids '
                f'{some(twice)}), which makes every second detection wrong: the '
                'data set repeats images, or joins sets that number theirs alike'
            )
        if self._coco_api is not None:
            numbers = self._coco_api.image_numbers
            self.img_ids = [numbers[key] for key in seen if key in numbers]
            if len(seen) < len(numbers) and not self.format_only:
                print_log(
                    f'{len(seen)} of the {len(numbers)} images of '
                    'the annotation file were evaluated: the figures are of these',
                    'current',
                    logging.WARNING,
                )
        return self._compute(results)

    def results2json(self, results: Sequence[dict], outfile_prefix: str) -> dict:
        """Writes the detections with the ids of the annotation file."""
        numbers = self.cat_ids
        self.cat_ids = [self._coco_api.category_ids[n - 1] for n in numbers]
        try:
            return super().results2json(results, outfile_prefix)
        finally:
            self.cat_ids = numbers
