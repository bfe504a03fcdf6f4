"""The exported file: its remarks, its hash, its integrity."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ..common.atomic import written_whole
from ..common.errors import UserError

__all__ = [
    'FORMAT',
    'KEY',
    'check_integrity',
    'graph_sha256',
    'load_model',
    'need_packages',
    'read_remarks',
    'set_remarks',
    'write_model',
]

KEY = 'tresnet_det'  # of the metadata_props
FORMAT = 1
OPSETS = range(17, 21)


def need_packages(*names: str) -> None:
    """Raises:
    UserError: A package that only export and verification need is missing.
    """
    from importlib.util import find_spec

    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise UserError(
            f'not installed: {", ".join(missing)}. Export and verification need them: '
            "pip install 'tresnet_det[export]'"
        )


def load_model(path: Path) -> Any:
    """Reads an ONNX file whole.

    Raises:
        UserError: It is missing, damaged, of another opset or in parts.
    """
    need_packages('onnx')
    import onnx
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise UserError(f'{path} is not there; expected is a file that export.py wrote')
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise UserError(
            f'{path} is no ONNX file, or it is damaged ({error}); export it again'
        ) from error
    if not model.graph.node:
        raise UserError(
            f'{path} is no ONNX file, or it is damaged (no operator in it); export it '
            'again'
        )
    if any(tensor.external_data for tensor in model.graph.initializer):
        raise UserError(
            f'{path} keeps its weights in another file; a file of ours is whole'
        )
    domains = {opset.domain: opset.version for opset in model.opset_import}
    if set(domains) != {''} or domains[''] not in OPSETS:
        raise UserError(
            f'{path} uses the operator sets {domains}, expected is the default one of '
            f'ONNX, version {OPSETS[0]} to {OPSETS[-1]}; export it again'
        )
    return model


def graph_sha256(model: Any) -> str:
    """Of the file without its remarks: operators, weights, inputs, opset."""
    import onnx

    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    return hashlib.sha256(bare.SerializeToString()).hexdigest()


def read_remarks(model: Any, path: Path) -> dict[str, Any]:
    """What we wrote about the file into it.

    Raises:
        UserError: It is not a file of ours, or of a later version.
    """
    for entry in model.metadata_props:
        if entry.key == KEY:
            try:
                remarks = json.loads(entry.value)
            except json.JSONDecodeError:
                remarks = None
            if not isinstance(remarks, dict) or remarks.get('format') != FORMAT:
                raise UserError(
                    f'{path} has remarks that this version cannot read (expected '
                    f'format {FORMAT}); export it again'
                )
            return remarks
    raise UserError(
        f'{path} is an ONNX file of another program: it has no remarks of ours. '
        'Expected is a file that tools/deployment/export.py wrote'
    )


def set_remarks(model: Any, remarks: dict[str, Any]) -> None:
    """Writes the remarks and the hash of the graph into the model."""
    remarks = dict(remarks, format=FORMAT, graph_sha256=graph_sha256(model))
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(remarks)


def check_integrity(model: Any, path: Path) -> dict[str, Any]:
    """Reads the remarks of a file that is as it was verified.

    Raises:
        UserError: Graph or weights were changed since.
    """
    remarks = read_remarks(model, path)
    found = graph_sha256(model)
    if found != remarks.get('graph_sha256'):
        raise UserError(
            f'{path} was changed after its export: its graph has the sha256 {found}, '
            f'verified was {remarks.get("graph_sha256")}. Export it again'
        )
    return remarks


def write_model(model: Any, path: Path) -> None:
    """Writes the file whole or not at all."""
    with written_whole(path) as part:
        part.write_bytes(model.SerializeToString())
