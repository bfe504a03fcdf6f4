"""What a training run found: COCO figures, curves and pictures.

Everything is read from files that MMDetection writes: the detections as COCO
results, the scalars as JSON lines. No model is needed.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from pycocotools.cocoeval import COCOeval
from terminaltables import AsciiTable

from ..common.atomic import written_whole
from .detection_files import read_detections
from .numbered_coco import NumberedCOCO
from .visualizer import ManyClassesVisualizer

__all__ = [
    'COCO_FIGURES',
    'coco_figures',
    'curves_of',
    'draw_detections',
    'evaluate_boxes',
    'figures_table',
    'plot_curves',
    'read_scalars',
]

# Position in COCOeval's statistics -> name.
COCO_FIGURES = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl')


def evaluate_boxes(
    ann_file: str | os.PathLike,
    detections_file: str | os.PathLike,
    classes: Sequence[str] | None = None,
) -> COCOeval:
    """Evaluates box detections with pycocotools and prints its whole table.

    Args:
        ann_file: COCO annotations.
        detections_file: COCO results, as MMDetection's ``CocoMetric`` writes
            them.
        classes: Names of the categories that count; None for all.

    Returns:
        The evaluation, with ``stats`` and ``eval['precision']``; ids of
        categories are numbers in the order of the file.

    Raises:
        UserError: The detections are no such, or of other images.
    """
    truth = NumberedCOCO(ann_file)
    found = read_detections(detections_file)
    # loadRes fails on an empty list, which an untrained detector gives.
    detected = truth.loadRes(found) if found else NumberedCOCO()
    evaluation = COCOeval(truth, detected, 'bbox')
    if classes is not None:
        evaluation.params.catIds = truth.getCatIds(catNms=list(classes))
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def coco_figures(evaluation: COCOeval) -> dict[str, float]:
    """The first six COCO figures; -1 where no such object exists."""
    return dict(zip(COCO_FIGURES, map(float, evaluation.stats)))


def figures_table(figures: Mapping[str, float]) -> str:
    """Lays out COCO figures as a text table; n/a where there is no object.

    Args:
        figures: Name to value in [0, 1], or -1.
    """
    return AsciiTable(
        [
            list(figures),
            [f'{v:.3f}' if v >= 0 else 'n/a' for v in figures.values()],
        ]
    ).table


def read_scalars(work_dir: str | os.PathLike) -> list[dict]:
    """Reads what mmengine logged in a work folder, over all resumed runs.

    A run that was resumed repeats steps; the later run counts. A line that a
    killed run began is left out.

    Args:
        work_dir: Folder with one ``<time stamp>/vis_data`` for each run;
            without a ``LocalVisBackend`` there is none, and nothing to read.
    """
    # Training lines carry iterations as steps, validation lines epochs.
    lines = {}
    for file in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for text in file.read_text().splitlines():
            with suppress(json.JSONDecodeError):
                line = json.loads(text)
                lines['loss' in line, line['step']] = line
    return [lines[key] for key in sorted(lines)]


def plot_curves(work_dir: str | os.PathLike, out_file: str | os.PathLike) -> None:
    """Draws the losses and the validation AP of a training run.

    Args:
        work_dir: As for ``read_scalars``.
        out_file: Picture to write.

    Raises:
        FileNotFoundError: No run has logged anything in ``work_dir``.
    """
    scalars = read_scalars(work_dir)
    if not scalars:
        raise FileNotFoundError(
            f'no */vis_data/scalars.json in {work_dir}: expected the work '
            'folder of a training run'
        )
    figure = curves_of(scalars)
    with written_whole(out_file) as part:
        figure.savefig(part, dpi=100)


def curves_of(scalars: Sequence[Mapping]) -> Figure:
    """The losses, of the val split too where it is known, and the validation AP.

    Args:
        scalars: See ``read_scalars``.
    """
    train = [line for line in scalars if 'loss' in line]
    val = [line for line in scalars if 'coco/bbox_mAP' in line]
    figure = Figure(figsize=(10, 4), layout='constrained')
    left, right = figure.subplots(1, 2)
    for name in sorted({n for n in train[-1] if 'loss' in n} if train else ()):
        left.plot(
            [line['step'] for line in train],
            [line.get(name, math.nan) for line in train],
            label=name,
        )
    # Evaluations count epochs; where training does not, both count iterations.
    ends = {line['epoch']: line['step'] for line in train if 'epoch' in line}
    losses = [
        (ends.get(line['step'], line['step']), line['val_loss'])
        for line in scalars
        if 'val_loss' in line
    ]
    if losses:
        left.plot(*zip(*losses), 'o-', color='black', label='val_loss')
    left.set(title='training', xlabel='iteration', ylabel='loss')
    left.legend()
    for key, name in (('mAP', 'AP'), ('mAP_50', 'AP50'), ('mAP_75', 'AP75')):
        right.plot(
            [line['step'] for line in val],
            [line.get(f'coco/bbox_{key}', math.nan) for line in val],
            'o-',
            label=name,
        )
    right.set(title='validation', xlabel='epoch', ylim=(0, 1))
    right.legend()
    return figure


def _instances(
    annotations: list[dict], label_of: Mapping[int, int], zoom: float
) -> InstanceData:
    """COCO dicts as boxes (corners, in pixels of the zoomed picture) and
    labels."""
    boxes = torch.tensor([a['bbox'] for a in annotations]).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return InstanceData(
        bboxes=boxes * zoom,
        labels=torch.tensor(
            [label_of[a['category_id']] for a in annotations], dtype=torch.long
        ),
    )


def draw_detections(
    ann_file: str | os.PathLike,
    detections: Mapping[str, str | os.PathLike],
    image_dir: str | os.PathLike,
    out_dir: str | os.PathLike,
    max_images: int = 12,
    score_thr: float = 0.3,
    min_side: int = 480,
) -> list[Path]:
    """Draws the ground truth and, right of it, one or more detectors' boxes.

    Args:
        ann_file: COCO annotations.
        detections: Title -> COCO results.
        image_dir: Where the images lie.
        out_dir: Where ``<image name>.jpg`` go; of images of one name in several
            folders the second is ``<image name>_2.jpg``.
        max_images: How many images, the first of the annotation file.
        score_thr: Weaker detections are left out.
        min_side: Smaller pictures are enlarged so that labels fit.

    Returns:
        The files written.

    Raises:
        FileNotFoundError: An image is missing or cannot be read.
    """
    truth = json.loads(Path(ann_file).read_text())
    panels = {'ground truth': truth['annotations']} | {
        title: json.loads(Path(file).read_text()) for title, file in detections.items()
    }
    label_of = {c['id']: k for k, c in enumerate(truth['categories'])}
    visualizer = ManyClassesVisualizer()
    visualizer.dataset_meta = dict(classes=[c['name'] for c in truth['categories']])
    written = []
    for image in truth['images'][:max_images]:
        path = Path(image_dir, image['file_name'])
        picture = cv2.imread(str(path))
        if picture is None:
            raise FileNotFoundError(f'cannot read the image {path}')
        zoom = max(1.0, min_side / min(picture.shape[:2]))
        picture = cv2.resize(picture, None, fx=zoom, fy=zoom)
        drawn = []
        for title, found in panels.items():
            here = [a for a in found if a['image_id'] == image['id']]
            boxes = _instances(here, label_of, zoom)
            is_truth = title == 'ground truth'
            if not is_truth:
                boxes.scores = torch.tensor([a['score'] for a in here])
            visualizer.add_datasample(
                path.stem,
                np.ascontiguousarray(picture[..., ::-1]),
                DetDataSample(gt_instances=boxes, pred_instances=boxes),
                draw_gt=is_truth,
                draw_pred=not is_truth,
                pred_score_thr=score_thr,
            )
            strip = np.full((28, picture.shape[1], 3), 255, np.uint8)
            cv2.putText(
                strip,
                title,
                (8, 20),
                cv2.FONT_HERSHEY_SIMPLEX,
                0.55,
                (0, 0, 0),
                1,
                cv2.LINE_AA,
            )
            drawn.append(np.vstack([strip, visualizer.get_image()[..., ::-1]]))
        _, data = cv2.imencode('.jpg', np.hstack(drawn))
        # The last part of a name alone, which may have several dots: the rest
        # could lead anywhere. Images of two folders may have one name.
        out_file = Path(out_dir, f'{path.stem}.jpg')
        number = 1
        while out_file in written:
            number += 1
            out_file = Path(out_dir, f'{path.stem}_{number}.jpg')
        with written_whole(out_file) as part:  # imwrite hides a full disk
            part.write_bytes(data.tobytes())
        written.append(out_file)
    return written
