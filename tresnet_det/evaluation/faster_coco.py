"""COCO evaluation in C++ by faster-coco-eval, with the figures of pycocotools.

An option: whoever wants it installs faster-coco-eval and names
``FasterCocoEvalMetric`` in a config. The figures are the same to 1e-12; the
last bit may differ, as a quotient is rounded elsewhere. (MMDetection's fork
has a ``FasterCocoMetric``, whose AP is taken at 1000 detections.)
"""

import io
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from numbers import Real
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

from mmdet.evaluation.metrics import CocoMetric, coco_metric
from mmdet.registry import METRICS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

__all__ = [
    'Evaluation',
    'FasterCocoEvalMetric',
    'TOLERANCE',
    'compare_evaluators',
    'faster_evaluation',
]

TOLERANCE = 1e-12


def faster_evaluation(truth: COCO | None, found: COCO | None, iou_type: str) -> Any:
    """What stands in for pycocotools' ``COCOeval(truth, found, iou_type)``.

    Raises:
        ImportError: faster-coco-eval is not installed.
        ValueError: Image ids are no numbers.
    """
    try:
        from faster_coco_eval import COCOeval_faster
    except ImportError as error:
        raise ImportError(
            'FasterCocoEvalMetric needs faster-coco-eval, and importing it '
            f'fails with: {error}. To mend it: pip install faster-coco-eval; '
            'without it CocoMetric gives the same figures'
        ) from error

    names = [
        image_id
        for image_id in (truth.getImgIds() if truth else [])
        if not isinstance(image_id, Real)
    ]
    if names:
        raise ValueError(
            'faster-coco-eval wants numbers as image ids, but '
            f"one is {names[0]!r}; take type='CocoMetric'"
        )

    class FasterEvaluation(COCOeval_faster):
        # Its own summary takes the first AP at the greatest number of
        # detections, which is 1000 in MMDetection, pycocotools' at 100.
        summarize = COCOeval.summarize

    return FasterEvaluation(truth, found, iou_type)


@METRICS.register_module()
class FasterCocoEvalMetric(CocoMetric):
    """MMDetection's ``CocoMetric``, evaluated by faster-coco-eval.

    Takes the same arguments and gives the same dict. 'bbox', 'segm' and
    'proposal' are evaluated in C++; 'proposal_fast' is MMDetection's own.

    Raises:
        ImportError: faster-coco-eval is not installed.
        ValueError: ``use_mp_eval``, which is another evaluation, or image ids
            that are no numbers.
    """

    # MMDetection's method, which says COCOeval and has no other way in, and
    # takes this name for ours. Its own module stays as it is.
    compute_metrics = FunctionType(
        CocoMetric.compute_metrics.__code__,
        {**vars(coco_metric), 'COCOeval': faster_evaluation},
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.use_mp_eval:
            raise ValueError(
                'use_mp_eval=True is another evaluation; leave '
                "it out, or take type='CocoMetric'"
            )
        # What is missing is said now, not after the first epoch.
        faster_evaluation(self._coco_api, None, 'bbox')


class Evaluation(NamedTuple):
    """The 12 figures of COCO by name, and the seconds they took."""

    figures: dict[str, float]
    seconds: float


def _evaluate(
    evaluation: Callable, ann_file: Path, detections_file: Path, max_dets: Sequence[int]
) -> Evaluation:
    with redirect_stdout(io.StringIO()):
        truth = COCO(ann_file)
        detections = json.loads(detections_file.read_text())
        # loadRes fails on an empty list, which an untrained detector gives.
        found = truth.loadRes(detections) if detections else COCO()
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
        ann_file: COCO annotations.
        detections_file: COCO results, as MMDetection's ``CocoMetric`` writes
            them.
        max_dets: Three numbers of detections an image, MMDetection's
            ``proposal_nums``. Both take the AP at 100: without a 100 here it
            is -1.

    Raises:
        ImportError: faster-coco-eval is not installed.
        FileNotFoundError: One of the files is missing.
        ValueError: There are not three different ``max_dets``.
    """
    if len(set(max_dets)) != 3:
        raise ValueError(
            f'max_dets are {tuple(max_dets)}; expected are three '
            'different numbers, such as 100 300 1000'
        )
    return {
        name: _evaluate(evaluation, Path(ann_file), Path(detections_file), max_dets)
        for name, evaluation in (
            ('pycocotools', COCOeval),
            ('faster-coco-eval', faster_evaluation),
        )
    }
