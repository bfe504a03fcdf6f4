"""An INT8 file from a float32 one: convs only, calibrated on images.

onnxruntime's static quantisation, as QuantizeLinear/DequantizeLinear pairs.
Weights take 7 of their 8 bits: on a CPU without VNNI the products of two
8-bit numbers are added in 16 bits and would saturate, so that the same file
would find other boxes there.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ['quantised']


class _Reader:
    """Hands onnxruntime the images one by one."""

    def __init__(self, images: Iterator[np.ndarray]) -> None:
        self.images = images

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.images, None)
        return None if image is None else {'images': image}

    def set_range(self, start_index: int, end_index: int) -> None:
        raise NotImplementedError


def quantised(source: Path, target: Path, images: Iterator[np.ndarray]) -> Any:
    """Quantises a file.

    Args:
        source: The float32 file.
        target: A scratch file in a folder for scratch files.
        images: Batches (N, 3, H, W) as the file takes them.

    Returns:
        The quantised onnx.ModelProto.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    quantize_static(
        str(source),
        str(target),
        _Reader(images),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=['Conv'],
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    return onnx.load(target)
