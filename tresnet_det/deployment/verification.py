"""Whether a file finds what MMDetection finds: maps, detections, COCO AP.

MMDetection's own `predict` on the model as it was trained, not folded, is the
reference. The file runs in onnxruntime on the CPU.
"""

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..common.errors import UserError
from .detector import Batch, Detector, batches
from .folding import head_maps
from .masks import encoded, overlap
from .runtime import paste_masks
from .second_stage import difference, second_stage_difference, shared_proposals

__all__ = [
    'SIZES',
    'Limits',
    'LIMITS',
    'VerificationError',
    'compare_maps',
    'compare_on_val',
    'judge',
    'open_session',
]

# (images, height, width): smallest, odd, no multiple of 32.
SIZES = ((1, 32, 32), (2, 97, 161), (3, 64, 50), (1, 320, 240))
FIGURES = (
    'AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl'.split()  # COCOeval's order
)


class VerificationError(UserError):
    """The file does not find what MMDetection finds."""


@dataclass(frozen=True)
class Limits:
    """What a file of a precision may differ by.

    Attributes:
        maps: Of a map's largest value; None where AP alone decides.
        ap: Of each of the 12 COCO figures.
        alike: Least share of MMDetection's detections that the file has, to
            one pixel and 0.01 of score; None where AP alone decides.
    """

    maps: float | None
    ap: float
    alike: float | None


LIMITS = dict(
    fp32=Limits(1e-3, 5e-5, 0.99),
    fp16=Limits(None, 1e-3, None),
    int8=Limits(None, 5e-3, None),
)
_TOLERANCE = '--tolerance of export.py lets a file be off, and writes that into it'
REMEDIES = dict(
    fp16=f'. {_TOLERANCE}',
    int8='. More in float32 is nearer, larger and slower: --float32 of export.py names '
    f'modules, or more of them; {_TOLERANCE}',
)


def open_session(model: Any, extra_outputs: Sequence[str] = ()) -> Any:
    """An onnxruntime session on the CPU of a model in memory."""
    import onnx
    import onnxruntime

    if extra_outputs:
        whole, model = model, onnx.ModelProto()
        model.CopyFrom(whole)
        for name in extra_outputs:
            model.graph.output.append(
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=['CPUExecutionProvider']
        )
    except Exception as error:  # onnxruntime has no common class for its errors
        raise UserError(f'onnxruntime does not open the file: {error}') from error


@torch.no_grad()
def compare_maps(
    detector: Detector,
    model: Any,
    remarks: dict[str, Any],
    sizes: Sequence[tuple[int, int, int]] = SIZES,
) -> dict[str, float]:
    """The head's maps of the file against MMDetection's on drawn images.

    Returns:
        'NxHxW' -> largest difference, of the map's largest value.
    """
    stages = remarks.get('stages', [])  # names that are outputs already are, too
    names = [*remarks['maps'], *stages]
    outputs = {value.name for value in model.graph.output}
    session = open_session(model, [name for name in names if name not in outputs])
    differences = {}
    for count, height, width in sizes:
        raw = _images(count, height, width)
        inputs = _normalised(detector, raw)
        feed = dict(images=raw.numpy() if _inside(remarks) else inputs.numpy())
        found = dict(zip(names, session.run(names, feed)))
        expected: Any = head_maps(detector.model, inputs)
        worst = 0.0
        for right, name in zip(expected, remarks['maps'], strict=True):
            got = found[name]
            right = np.asarray(right.float())
            if right.shape != got.shape:
                raise VerificationError(
                    f'a map of {count}x{height}x{width} has the shape {got.shape}, '
                    f'expected is {right.shape}'
                )
            worst = max(worst, difference(right, got))
        if stages:
            worst = max(worst, second_stage_difference(detector.model, inputs, found))
            share = shared_proposals(detector.model, inputs, found['proposals'])
            if not share >= (LIMITS[remarks['precision']].alike or 0):
                raise VerificationError(
                    f'{share:.4f} of the proposals of {count}x{height}x{width} are the '
                    f'same, at least {LIMITS[remarks["precision"]].alike}'
                )
        differences[f'{count}x{height}x{width}'] = worst
    return differences


def _inside(remarks: dict[str, Any]) -> bool:
    return bool(remarks['preprocess']['inside'])


def _images(count: int, height: int, width: int) -> Tensor:
    """Smooth patches and noise, uint8; the same at every call."""
    draw = torch.Generator().manual_seed(height * 10007 + width)
    coarse = torch.rand(count, 3, 8, 8, generator=draw)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode='bilinear')
    noise = torch.rand(count, 3, height, width, generator=draw)
    return ((0.8 * smooth + 0.2 * noise) * 255).to(torch.uint8)


def _normalised(detector: Detector, raw: Tensor) -> Tensor:
    facts = detector.preprocess
    x = raw.flip(1).float() if facts['bgr_to_rgb'] else raw.float()
    mean, std = (torch.tensor(facts[key])[:, None, None] for key in ('mean', 'std'))
    return (x - mean) / std


def compare_on_val(
    detector: Detector,
    model: Any,
    remarks: dict[str, Any],
    num_images: int | None = None,
) -> dict[str, Any]:
    """Detections and the 12 COCO figures of both on the val split.

    Returns:
        'images', 'alike' (share of MMDetection's detections that the file
        has), 'detections', 'mmdetection' and 'file' (figure -> value).

    Raises:
        UserError: There is no val split to compare on.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # of pycocotools
        dataset, data = batches(detector, 'val', num_images)
    if not hasattr(dataset, 'cat_ids'):
        raise UserError(
            f'the val split is a {type(dataset).__name__}, which has no COCO '
            'annotations to evaluate'
        )
    session = open_session(model)
    ours: list[dict] = []
    theirs: list[dict] = []
    seen: list[int] = []
    alike = total = 0
    for batch in data:
        right = _mmdetection(detector, batch)
        got = run_file(session, batch, remarks)
        seen += [sample.img_id for sample in batch.samples]
        for sample, one, other in zip(batch.samples, right, got):
            total += len(one[1])
            alike += _alike(one, other)
            scale = np.array([*sample.scale_factor] * 2, np.float32)
            for results, (boxes, scores, labels, masks) in (
                (theirs, one),
                (ours, other),
            ):
                results += _coco_results(
                    sample.img_id, boxes / scale, scores, labels, masks, dataset.cat_ids
                )
    of_masks: dict[str, Any] = {}
    if 'masks' in remarks:
        of_masks = _mask_figures(dataset, theirs, ours, seen)
    return dict(
        images=len(seen),
        detections=total,
        alike=round(alike / total, 6) if total else 1.0,
        mmdetection=_figures(dataset, theirs, seen),
        file=_figures(dataset, ours, seen),
        **of_masks,
    )


# Boxes, scores, labels, and masks of the original image as COCO encodes them.
Found = tuple[np.ndarray, np.ndarray, np.ndarray, list[dict] | None]


@torch.no_grad()
def _mmdetection(detector: Detector, batch: Batch) -> list[Found]:
    """What MMDetection's predict finds, in pixels of the input."""
    samples = detector.model.predict(
        torch.from_numpy(batch.inputs), batch.samples, rescale=True
    )
    found = []
    for sample in samples:
        instances = sample.pred_instances
        scale = np.array([*sample.scale_factor] * 2, np.float32)
        found.append(
            (
                instances.bboxes.numpy() * scale,
                instances.scores.numpy(),
                instances.labels.numpy(),
                encoded(instances.masks.numpy()) if 'masks' in instances else None,
            )
        )
    return found


def run_file(session: Any, batch: Batch, remarks: dict[str, Any]) -> list[Found]:
    """What the file finds, in pixels of the input."""
    images = batch.raw if _inside(remarks) else batch.inputs
    names = ['boxes', 'scores', 'labels', *(['masks'] if 'masks' in remarks else [])]
    outputs = session.run(names, dict(images=images, sizes=batch.sizes))
    found: list[Found] = []
    for sample, *rows in zip(batch.samples, *outputs):
        boxes, scores, labels, *masks = (values[rows[2] >= 0] for values in rows)
        pasted = None
        if masks:
            scale = np.array([*sample.scale_factor] * 2, np.float32)
            threshold, size = remarks['masks']['threshold'], sample.ori_shape[:2]
            pasted = encoded(paste_masks(masks[0], boxes / scale, size, threshold))
        found.append((boxes, scores, labels, pasted))
    return found


def _alike(right: Found, got: Found) -> int:
    """How many of the one's detections the other has."""
    free = np.ones(len(got[1]), bool)
    count = 0
    for i, (box, score, label) in enumerate(zip(*right[:3])):
        near = free & (got[2] == label) & (np.abs(got[1] - score) < 0.01)
        near &= np.abs(got[0] - box).max(1, initial=0) < 1
        if right[3] is not None and got[3] is not None:
            near[near] = overlap(right[3][i], got[3], near) >= 0.95
        if near.any():
            free[near.argmax()] = False
            count += 1
    return count


def _coco_results(
    image: int,
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    masks: list[dict] | None,
    categories: Sequence[int],
) -> list[dict]:
    results = [
        dict(
            image_id=image,
            bbox=[float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
            score=float(score),
            category_id=categories[label],
        )
        for (x1, y1, x2, y2), score, label in zip(boxes, scores, labels)
    ]
    for result, mask in zip(results, masks or ()):
        result['segmentation'] = mask
    return results


def _figures(
    dataset: Any, results: list[dict], images: list[int], kind: str = 'bbox'
) -> dict[str, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(dataset.ann_file)
        found = truth.loadRes(results) if results else COCO()
        evaluation = COCOeval(truth, found, kind)
        evaluation.params.imgIds = images
        evaluation.params.catIds = list(dataset.cat_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: round(float(v), 6) for name, v in zip(FIGURES, evaluation.stats)}


def _mask_figures(
    dataset: Any, theirs: list[dict], ours: list[dict], images: list[int]
) -> dict[str, Any]:
    """The 12 COCO figures of the masks, or why there are none."""
    annotations = json.loads(Path(dataset.ann_file).read_text('utf-8'))['annotations']
    if not all(one.get('segmentation') for one in annotations):
        return dict(masks_not_compared='the annotations of the val split have no masks')
    # Without boxes, so that small and large are those of masks, as CocoMetric has it.
    keys = ('image_id', 'category_id', 'score', 'segmentation')
    alone = (
        [{key: one[key] for key in keys} for one in found] for found in (theirs, ours)
    )
    right, got = (_figures(dataset, results, images, 'segm') for results in alone)
    return dict(mmdetection_masks=right, file_masks=got)


def judge(
    precision: str,
    maps: dict[str, float],
    val: dict[str, Any] | None,
    tolerance: float | None = None,
) -> float:
    """Decides whether a file may have its name.

    Returns:
        How far each COCO figure was allowed to be off.

    Raises:
        VerificationError: A figure is beyond the limit of the precision.
    """
    limits, faults = LIMITS[precision], []
    most = limits.ap if tolerance is None else tolerance
    if limits.maps is not None:
        faults += [
            f'maps at {size}: {value:.2e} of the largest value, at most {limits.maps}'
            for size, value in maps.items()
            if not value <= limits.maps
        ]
    elif not all(np.isfinite(value) for value in maps.values()):
        faults.append('a map is not finite')
    if val is not None:
        for kind in ('', '_masks'):
            for name, right in val.get(f'mmdetection{kind}', {}).items():
                got = val[f'file{kind}'][name]
                if not abs(right - got) <= most:
                    faults.append(
                        f'{name}{kind.replace("_", " of ")}: MMDetection {right:.4f}, '
                        f'file {got:.4f}, at most {most} apart'
                    )
        if limits.alike is not None and val['alike'] < limits.alike:
            faults.append(
                f'{val["alike"]:.4f} of {val["detections"]} detections are the same, '
                f'at least {limits.alike}'
            )
    if faults:
        raise VerificationError(
            f'the {precision} file does not find what MMDetection finds: '
            + '; '.join(faults)
            + REMEDIES.get(precision, '')
        )
    return most
