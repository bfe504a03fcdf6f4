"""A detector's graph as an ONNX model or a torch.export program."""

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from .graphs import DetectorGraph
from .graphs.nms import onnx_translations

__all__ = ['OPSET', 'as_onnx', 'as_program']

OPSET = 18
_LARGEST = 8192
_NO_LIMIT = 2**24  # of the size of an image; exact in float32


@torch.no_grad()
def as_program(graph: DetectorGraph) -> torch.export.ExportedProgram:
    """Traces the graph; batch, height and width stay free.

    The program takes 1 to 1024 images with sides of up to 8192 pixels, and more
    than the largest stride of the head's levels: below that a level has one
    row, which torch.export takes for a kind of its own. ONNX does not. Unless the
    graph is raw, it has our NMS operator: import
    tresnet_det.deployment.graphs.nms before torch.export.load, and torchvision
    for a two-stage detector.
    """
    stride = graph.largest_stride
    # Odd, so that nothing is taken for even; two rows or more on every level.
    count, height, width = 2, 2 * stride + 33, 4 * stride + 33
    images = torch.zeros(count, 3, height, width)
    if graph.preprocess:
        images = images.to(torch.uint8)
    sizes = torch.tensor([[height, width]] * count)
    batch = torch.export.Dim('batch', min=1, max=1024)
    sides = {
        2 + i: torch.export.Dim(name, min=stride + 1, max=_LARGEST)
        for i, name in enumerate(('height', 'width'))
    }
    with _quiet():
        return torch.export.export(
            graph.eval(),
            (images, sizes),
            dynamic_shapes=({0: batch, **sides}, {0: batch}),
        )


@torch.no_grad()
def as_onnx(graph: DetectorGraph, scratch: Path) -> tuple[Any, list[str]]:
    """Translates the graph to ONNX.

    Args:
        graph: What to export.
        scratch: Folder for files that nobody needs afterwards.

    Returns:
        The onnx.ModelProto and the names of the dense head's maps in it; the
        graph's inner tensors have their names. `sizes` is an optional input:
        an initializer stands for it.
    """
    import onnx
    from onnx import TensorProto, helper

    program = as_program(graph)
    with _quiet():
        exported: Any = torch.onnx.export(
            program,
            (),
            dynamo=True,
            input_names=['images', 'sizes'],
            opset_version=OPSET,
            custom_translation_table=onnx_translations(),
            verbose=False,
        )
        file = scratch / 'exported.onnx'
        exported.save(file, external_data=False)
    model = onnx.load(file)
    wanted = [name for name, _, _ in graph.outputs]
    outputs = [value.name for value in model.graph.output]
    maps = outputs[len(wanted) : len(outputs) - len(graph.inner)]
    _rename(model, dict(zip(outputs, (*wanted, *maps, *graph.inner), strict=True)))
    del model.graph.output[:], model.graph.value_info[:]
    for name, dtype, shape in graph.outputs:
        kind = TensorProto.INT64 if dtype == torch.int64 else TensorProto.FLOAT
        model.graph.output.append(helper.make_tensor_value_info(name, kind, shape))
    del model.graph.input[:]
    model.graph.input.extend(
        [
            helper.make_tensor_value_info(
                'images',
                TensorProto.UINT8 if graph.preprocess else TensorProto.FLOAT,
                ['batch', 3, 'height', 'width'],
            ),
            helper.make_tensor_value_info(
                'sizes', TensorProto.INT64, ['batch_or_1', 2]
            ),
        ]
    )
    model.graph.initializer.append(
        helper.make_tensor('sizes', TensorProto.INT64, (1, 2), [_NO_LIMIT] * 2)
    )
    # Names of source files and lines of the machine that exported.
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return model, maps


def _rename(model: Any, names: dict[str, str]) -> None:
    for node in model.graph.node:
        for values in (node.input, node.output):
            for i, name in enumerate(values):
                values[i] = names.get(name, name)


@contextlib.contextmanager
def _quiet() -> Any:
    """Without the exporter's progress and advice to developers."""
    logger = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)
