"""Which range of an activation 8 bits should span.

The whole range costs precision where a few values lie far out, and where the
activation that follows flattens one side of it. So the range is chosen that
makes the mean squared error behind that activation smallest.

PyTorch's HistogramObserver chooses ranges by squared error too; that the error
is taken behind the activation is ours.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ['best_range', 'observed', 'slopes']

_SAMPLES = 4096  # of a tensor in an image
_BINS = 2048
_LEVELS = 255


def observed(
    model: Any, images: Iterable[np.ndarray], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Values that tensors inside a file take.

    Args:
        model: The float32 onnx.ModelProto.
        images: Batches (N, 3, H, W) as the file takes them.
        names: Of the tensors.

    Returns:
        Name -> drawn values, lowest and highest of each image among them.
    """
    from .verification import open_session

    session = open_session(model, names)
    draw = np.random.default_rng(0)
    values: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for image in images:
        for name, tensor in zip(names, session.run(list(names), {'images': image})):
            flat = tensor.ravel()
            drawn = flat[draw.integers(0, flat.size, _SAMPLES)]
            values[name].append(np.append(drawn, [flat.min(), flat.max()]))
    return {name: np.concatenate(each) for name, each in values.items()}


def best_range(values: np.ndarray, slope: float = 1.0) -> tuple[float, float]:
    """The range of least squared error; it holds 0.

    Args:
        values: Drawn from the tensor.
        slope: Of the activation that follows, below 0; 1 is none, 0 is ReLU.
    """
    lowest, highest = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if not lowest < highest:
        return -1.0, 1.0
    counts, edges = np.histogram(values, _BINS, (lowest, highest))
    x = (edges[1:] + edges[:-1]) / 2
    best, least = (lowest, highest), np.inf
    shares = np.linspace(0, 1, 41)[1:]
    for low in np.unique(lowest * np.append(0, shares)):
        for high in highest * shares if highest else [0.0]:
            step = (high - low) / _LEVELS
            if not step:
                continue
            error = np.where(x < 0, slope, 1.0) * (x - x.clip(low, high))
            steps = np.where(x < 0, slope, 1.0) * step
            total = float(counts @ (error**2 + steps**2 / 12))
            if total < least:
                best, least = (float(low), float(high)), total
    return best


def slopes(model: Any, names: Sequence[str]) -> Mapping[str, float]:
    """The slope below 0 of what alone reads a tensor; 1 where something else does."""
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = {}
    for name in names:
        own = {_slope(node) for node in readers.get(name, [])}
        found[name] = own.pop() if len(own) == 1 else 1.0
    return found


def _slope(node: Any) -> float:
    if node.op_type == 'Relu':
        return 0.0
    if node.op_type == 'LeakyRelu':
        return float(next((a.f for a in node.attribute if a.name == 'alpha'), 0.01))
    return 1.0
