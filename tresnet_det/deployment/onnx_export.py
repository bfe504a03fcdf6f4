"""A detector's graph as an ONNX model or a torch.export program."""

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from .graph import DetectorGraph
from .nms import onnx_translations

__all__ = ['OPSET', 'as_onnx', 'as_program']

OPSET = 18
OUTPUTS = ('boxes', 'scores', 'labels')
# Odd, so that nothing is taken for even; of the same kind as any other size.
_EXAMPLE = (2, 97, 161)
_LARGEST = 8192
_NO_LIMIT = 2**24  # of the size of an image; exact in float32


@torch.no_grad()
def as_program(graph: DetectorGraph) -> torch.export.ExportedProgram:
    """Traces the graph; batch, height and width stay free.

    The program takes sides of 33 to 8192 and 1 to 1024 images. Unless the
    graph is raw, it has our NMS operator: import tresnet_det.deployment.nms
    before torch.export.load.
    """
    count, height, width = _EXAMPLE
    images = torch.zeros(count, 3, height, width)
    if graph.preprocess:
        images = images.to(torch.uint8)
    sizes = torch.tensor([[height, width]] * count)
    batch = torch.export.Dim('batch', min=1, max=1024)
    sides = {
        2 + i: torch.export.Dim(name, min=33, max=_LARGEST)
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
        The onnx.ModelProto and the names of the head's maps in it. `sizes` is
        an optional input: an initializer stands for it.
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
    wanted = OUTPUTS[:2] if graph.raw else OUTPUTS
    outputs = list(model.graph.output)
    maps = [value.name for value in outputs[len(wanted) :]]
    _rename(model, dict(zip((o.name for o in outputs), wanted)))
    del model.graph.output[:], model.graph.value_info[:]
    most = int(graph.cfg['max_per_img'])
    for name in wanted:
        kind = TensorProto.INT64 if name == 'labels' else TensorProto.FLOAT
        rows: Any = 'points' if graph.raw else most
        shape = ['batch', rows]
        if name == 'boxes':
            shape.append(4)
        elif graph.raw:
            shape.append(graph.head.num_classes)
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
