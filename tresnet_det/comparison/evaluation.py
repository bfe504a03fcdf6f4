"""What a finished run found: COCO figures, classes, curves."""

import io
from contextlib import redirect_stdout
from dataclasses import dataclass

import numpy as np

from ..evaluation.figures import coco_figures, evaluate_boxes, read_scalars
from .equality import classes_of, evaluator_of
from .run import Run

__all__ = ['IOUS', 'Findings', 'read_findings']

# IoU thresholds that PR curves are drawn for -> index in pycocotools' arrays.
IOUS = {0.5: 0, 0.75: 5}


@dataclass(frozen=True)
class Findings:
    """What is known of a finished run.

    Attributes:
        figures: The six COCO figures in [0, 1], -1 where undefined.
        classes: AP of each class, -1 where it has no object.
        precision: IoU threshold -> mean precision over classes at 101 recall
            levels from 0 to 1.
        train_loss: Iterations and losses.
        val_loss: Epochs (or iterations) and losses on the val split; empty
            without ValLossHook.
        val_ap: Epochs (or iterations) and AP; the last is the final one.
    """

    figures: dict[str, float]
    classes: dict[str, float]
    precision: dict[float, np.ndarray]
    train_loss: np.ndarray
    val_loss: np.ndarray
    val_ap: np.ndarray


def read_findings(run: Run) -> Findings:
    """Evaluates a run's detections with pycocotools and reads its logs.

    Args:
        run: A finished run whose detections are written.
    """
    with redirect_stdout(io.StringIO()):  # COCOeval's own tables
        evaluation = evaluate_boxes(
            evaluator_of(run.cfg).ann_file, run.detections, classes_of(run.cfg)
        )
    figures = coco_figures(evaluation)
    # IoU thresholds, recall levels, classes; all areas, 100 detections.
    precision = evaluation.eval['precision'][..., 0, -1]
    names = {
        category['id']: category['name']
        for category in evaluation.cocoGt.loadCats(evaluation.params.catIds)
    }
    classes = {}
    for index, category in enumerate(evaluation.params.catIds):
        # -1 marks a class without objects in all its entries.
        classes[names[category]] = float(precision[..., index].mean())
    seen = precision[0, 0] > -1
    scalars = read_scalars(run.work_dir)

    def curve(key: str) -> np.ndarray:
        return np.array(
            [(line['step'], line[key]) for line in scalars if key in line], float
        ).reshape(-1, 2)

    val_ap = curve('coco/bbox_mAP')
    val_ap = np.vstack([val_ap[val_ap[:, 0] < run.length], (run.length, figures['AP'])])
    return Findings(
        figures,
        classes,
        {iou: precision[index][:, seen].mean(axis=1) for iou, index in IOUS.items()},
        curve('loss'),
        curve('val_loss'),
        val_ap,
    )
