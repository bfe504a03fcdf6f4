"""COCO evaluation in C++ by faster-coco-eval, with the figures of pycocotools.

An option: whoever wants it installs faster-coco-eval and names
``FasterCocoEvalMetric`` in a config. The figures are the same to 1e-12; the
last bit may differ, as a quotient is rounded elsewhere. (MMDetection's fork
has a ``FasterCocoMetric``, whose AP is taken at 1000 detections.)
"""

import io
import os
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from copy import deepcopy
from typing import Any, NamedTuple

from mmdet.registry import METRICS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..common.errors import UserError
from ..common.json_files import read_json
from .detection_files import read_detections
from .numbered_coco import NumberedCOCO, NumberedCocoMetric, compute_with

__all__ = [
    'Evaluation',
    'FasterCocoEvalMetric',
    'NotInstalledError',
    'TOLERANCE',
    'compare_evaluators',
    'faster_evaluation',
]

TOLERANCE = 1e-12


class NotInstalledError(UserError, ImportError):
    """faster-coco-eval is not there."""


def faster_evaluation(truth: COCO | None, found: COCO | None, iou_type: str) -> Any:
    """What stands in for pycocotools' ``COCOeval(truth, found, iou_type)``.

    Raises:
        NotInstalledError: faster-coco-eval is not installed.
    """
    try:
        from faster_coco_eval import COCOeval_faster
    except ImportError as error:
        raise NotInstalledError(
            'FasterCocoEvalMetric needs faster-coco-eval, and importing it '
            f'fails with: {error}. To mend it: pip install faster-coco-eval; '
            'without it CocoMetric gives the same figures'
        ) from error

    class FasterEvaluation(COCOeval_faster):
        # Its own summary takes the first AP at the greatest number of
        # detections, which is 1000 in MMDetection, pycocotools' at 100.
        summarize = COCOeval.summarize

    return FasterEvaluation(truth, found, iou_type)


@METRICS.register_module()
class FasterCocoEvalMetric(NumberedCocoMetric):
    """MMDetection's ``CocoMetric``, evaluated by faster-coco-eval.

    Takes the same arguments and gives the same dict. 'bbox', 'segm' and
    'proposal' are evaluated in C++; 'proposal_fast' is MMDetection's own.

    Raises:
        ImportError: faster-coco-eval is not installed.
        ValueError: ``use_mp_eval``, which is another evaluation.
    """

    _compute = compute_with(faster_evaluation)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.use_mp_eval:
            raise ValueError(
                'use_mp_eval=True is another evaluation; leave '
                "it out, or take type='CocoMetric'"
            )
        # What is missing is said now, not after the first epoch.
        faster_evaluation(None, None, 'bbox')


class Evaluation(NamedTuple):
    """The 12 figures of COCO by name, and the seconds they took."""

    figures: dict[str, float]
    seconds: float


def _evaluate(
    evaluation: Callable,
    annotations: dict[str, Any],
    detections: Sequence[dict],
    max_dets: Sequence[int],
) -> Evaluation:
    with redirect_stdout(io.StringIO()):
        # Evaluating changes both.
        truth = NumberedCOCO(dataset=deepcopy(annotations))
        # loadRes fails on an empty list, which an untrained detector gives.
        copies = [dict(detection) for detection in detections]
        found = truth.loadRes(copies) if copies else NumberedCOCO()
        evaluated = evaluation(truth, found, 'bbox')
        evaluated.params.maxDets = sorted(max_dets)
        start = time.perf_counter()
        evaluated.evaluate()
        evaluated.accumulate()
        evaluated.summarize()
    seconds = time.perf_counter() - start
    recalls = [f'AR@{count}' for count in sorted(max_dets)]
    names = ['AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', *recalls, 'ARs', 'ARm', 'ARl']
    return Evaluation(dict(zip(names, map(float, evaluated.stats))), seconds)


def compare_evaluators(
    ann_file: str | os.PathLike,
    detections_file: str | os.PathLike,
    max_dets: Sequence[int] = (100, 300, 1000),
) -> dict[str, Evaluation]:
    """Evaluates box detections by pycocotools and by faster-coco-eval.

    Args:
        ann_file: COCO annotations, whole and right.
        detections_file: COCO results, as MMDetection's ``CocoMetric`` writes
            them.
        max_dets: Three numbers of detections an image, MMDetection's
            ``proposal_nums``. Both take the AP at 100: without a 100 here it
            is -1.

    Raises:
        UserError: One of the files is missing, is none of its kind or does
            not belong to the other; there are not three different
            ``max_dets`` above 0; faster-coco-eval is not installed.
    """
    if len(set(max_dets)) != 3 or min(max_dets) < 1:
        raise UserError(
            f'max_dets are {tuple(max_dets)}; expected are three '
            'different numbers, such as 100 300 1000'
        )
    annotations = read_json(ann_file, 'annotation file', 'Give its path')
    detections = read_detections(detections_file)
    return {
        name: _evaluate(evaluation, annotations, detections, max_dets)
        for name, evaluation in (
            ('pycocotools', COCOeval),
            ('faster-coco-eval', faster_evaluation),
        )
    }
