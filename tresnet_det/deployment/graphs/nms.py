"""Non-maximum suppression as one operator that exporters can translate.

It returns a mask, not the kept boxes, so no size in the graph depends on what
the image shows. In torch it is mmcv's own NMS; in ONNX one NonMaxSuppression,
whose (batch, class, box) triples are scattered into the mask.
"""

from typing import Any

import torch
from mmcv.ops import nms
from mmengine.utils import digit_version
from torch import Tensor

__all__ = ['nms_mask', 'onnx_translations']

# The first with the exporter that takes translations of own operators.
if digit_version(torch.__version__) < digit_version('2.6'):
    raise ImportError(
        f'exporting needs torch >= 2.6, this is {torch.__version__}. The checkpoint '
        'can be exported in another environment: it is the same file for all'
    )


@torch.library.custom_op('tresnet_det::nms_mask', mutates_args=())
def nms_mask(
    boxes: Tensor, scores: Tensor, iou_threshold: float, max_boxes: int
) -> Tensor:
    """Marks the boxes that non-maximum suppression keeps.

    Args:
        boxes: (N, K, 4), xyxy.
        scores: (N, K); candidates are those of 0 and more.
        iou_threshold: A box that overlaps a better one by more is dropped.
        max_boxes: Kept in each image at most, the best ones.

    Returns:
        (N, K), 1 where kept, else 0, in the dtype of the scores.
    """
    mask = torch.zeros_like(scores)
    for image in range(len(boxes)):
        candidates = (scores[image] >= 0).nonzero()[:, 0]
        if len(candidates):
            _, kept = nms(
                boxes[image, candidates].contiguous(),
                scores[image, candidates].contiguous(),
                iou_threshold,
            )
            mask[image, candidates[kept[:max_boxes]]] = 1
    return mask


@nms_mask.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, max_boxes: int) -> Tensor:
    return torch.empty_like(scores)


def onnx_translations() -> dict[Any, Any]:
    """For torch.onnx.export's custom_translation_table."""
    from onnxscript import opset18 as op

    def translate(boxes: Any, scores: Any, iou_threshold: float, max_boxes: int) -> Any:
        kept = op.NonMaxSuppression(
            boxes,
            op.Unsqueeze(scores, op.Constant(value_ints=[1])),
            op.Constant(value_ints=[max_boxes]),
            op.Constant(value_floats=[iou_threshold]),
            op.Constant(value_floats=[-0.5]),  # what is no candidate has -1
        )
        places = op.Gather(kept, op.Constant(value_ints=[0, 2]), axis=1)
        count = op.Slice(
            op.Shape(kept), op.Constant(value_ints=[0]), op.Constant(value_ints=[1])
        )
        zero, one = op.Constant(value_float=0.0), op.Constant(value_float=1.0)
        return op.ScatterND(
            op.Expand(zero, op.Shape(scores)), places, op.Expand(one, count)
        )

    return {torch.ops.tresnet_det.nms_mask.default: translate}
