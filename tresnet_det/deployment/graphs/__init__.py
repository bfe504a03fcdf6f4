"""Detectors from images to a fixed number of detections, for exporters.

They compute what MMDetection's `predict_by_feat` does, with fixed sizes: where
MMDetection drops rows, rows are marked by a score of -1 here.
"""

from typing import Any

from ..supported import check_supported, is_two_stage
from .base import DetectorGraph
from .one_stage import OneStageGraph
from .two_stage import TwoStageGraph

__all__ = ['DetectorGraph', 'detector_graph']


def detector_graph(
    model: Any, raw: bool = False, preprocess: bool = False, half: bool = False
) -> DetectorGraph:
    """The graph of a detector.

    Args:
        model: A detector; see `supported.py`. Its norms should be folded.
        raw: Boxes and scores of all points, before the limits and NMS.
        preprocess: Take uint8 images in BGR order, and normalise them here.
        half: The network computes in float16; decoding and NMS do not.

    Raises:
        UserError: It cannot be exported.
    """
    check_supported(model, raw)
    if is_two_stage(model):
        return TwoStageGraph(model, preprocess, half)
    return OneStageGraph(model, raw, preprocess, half)
