"""A detector through the whole export, once for all tests of a module."""

from types import SimpleNamespace

import newer_torch  # noqa: F401
import pytest
import torch

from tresnet_det.deployment import export as exporting
from tresnet_det.deployment import onnx_file
from tresnet_det.deployment.detector import load_detector

onnx = pytest.importorskip('onnx')


def exported(config, model):
    """Config, checkpoint, detector, file, its remarks, what was said, the graph.

    All is written beside the config.
    """
    checkpoint = config.with_name('weights.pth')
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
    detector = load_detector(config, checkpoint, None)
    file, told = config.parent / 'out' / 'file.onnx', []
    remarks = exporting.export_onnx(detector, file, tell=told.append)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    return SimpleNamespace(
        root=config.parent,
        config=config,
        checkpoint=checkpoint,
        detector=detector,
        file=file,
        remarks=remarks,
        told=told,
        model=onnx_file.load_model(file),
    )


def take_graph_of(made, monkeypatch):
    """Exports take the translated graph of ``exported`` as it is."""

    def translated(graph, scratch):
        model = onnx.ModelProto()
        model.CopyFrom(made.model)
        return model, made.remarks['maps']

    monkeypatch.setattr(exporting, 'as_onnx', translated)
