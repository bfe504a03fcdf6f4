"""An INT8 file from a float32 one: convs only, calibrated on images.

onnxruntime's static quantisation, as QuantizeLinear/DequantizeLinear pairs.
Weights take 7 of their 8 bits: on a CPU without VNNI the products of two
8-bit numbers are added in 16 bits and would saturate, so that the same file
would find other boxes there.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import UserError
from .calibration import best_range, observed, slopes

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


def quantised(
    source: Path,
    target: Path,
    images: Iterator[np.ndarray],
    maps: Sequence[str],
    float32: Sequence[str] = (),
) -> Any:
    """Quantises a file.

    Args:
        source: The float32 file.
        target: A scratch file in a folder for scratch files.
        images: Batches (N, 3, H, W) as the file takes them.
        maps: Names of the head's maps. The convs that end in them, and the
            first of all, keep float32: they cost little and err most.
        float32: Modules whose convs keep float32 too, 'neck' or
            'backbone.stages.3'.

    Returns:
        The quantised onnx.ModelProto.

    Raises:
        UserError: A module of ``float32`` has no conv in the file, or none is left.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    model = onnx.load(source)
    kept = sorted({*_first_and_last(model, maps), *_convs_of(model, float32)})
    convs = [n for n in model.graph.node if n.op_type == 'Conv' and n.name not in kept]
    if not convs:
        raise UserError(
            f'--float32 {" ".join(float32)}: nothing is left for int8; name fewer '
            'modules, or export with --precision fp16'
        )
    names = sorted({name for n in convs for name in (n.input[0], n.output[0])})
    first = next(images)
    values = observed(model, chain([first], images), names)
    below = slopes(model, names)
    ranges: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        low, high = best_range(values[name], below[name])
        ranges[name] = [dict(rmin=np.float32(low), rmax=np.float32(high))]
    with _quiet():
        quantize_static(
            str(source),
            str(target),
            _Reader(iter([first])),  # its ranges are overridden
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=['Conv'],
            nodes_to_exclude=kept,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=dict(TensorQuantOverrides=ranges),
        )
    return onnx.load(target)


def _convs_of(model: Any, modules: Sequence[str]) -> set[str]:
    """Names of the convs inside modules."""
    weights = {n.name: n.input[1] for n in model.graph.node if n.op_type == 'Conv'}
    found = set()
    for module in modules:
        own = {n for n, w in weights.items() if w.startswith(f'net.{module}.')}
        if not own:
            parts = sorted({w.split('.')[1] for w in weights.values() if '.' in w})
            raise UserError(
                f'--float32 {module} names no module with a conv; the file is made of '
                f'{", ".join(parts)}, and a module in one is named as '
                'backbone.stages.3 is'
            )
        found |= own
    return found


def _first_and_last(model: Any, maps: Sequence[str]) -> list[str]:
    """Names of the first conv and of those whose results become the maps."""
    makers = {name: node for node in model.graph.node for name in node.output}
    convs = [node for node in model.graph.node if node.op_type == 'Conv']
    found = {convs[0].name}
    for name in maps:
        node = makers[name]
        while node.op_type != 'Conv':  # a scale, a limit, a change of type
            node = next(makers[value] for value in node.input if value in makers)
        found.add(node.name)
    return sorted(found)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without advice to pre-process the file, which fails on it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
