"""A checkpoint of a training, slimmed to what is given to others."""

import ast
import hashlib
import math
import os
import tempfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.runner.checkpoint import CheckpointLoader

from ..common.atomic import written_whole
from ..environment.versions import __version__
from .fetch import fetch
from .files import read_weights, write_weights
from .formats import CheckpointError
from .wrapped_names import unwrapped_name

__all__ = ['load_from_safetensors', 'publish', 'register_safetensors']

_ENDINGS = ('.pth', '.safetensors')
# What trainers name the model that they hold.
_HOLDERS = ('model.', 'ema_model.')


def publish(source: str | PathLike, target: str | PathLike) -> Path:
    """Write the weights of a checkpoint alone, with MMDetection's file name.

    Of averaged weights the average is taken, as it is what the checkpoint is
    evaluated by. Optimizer, schedulers, log and other states of the training
    stay behind; its ``meta`` (classes, config, versions, epoch) comes along.
    The same checkpoint gives the same file.

    Args:
        source: Path of a checkpoint, or what else ``load_pretrained`` takes.
        target: ``DIR/NAME.pth`` or ``DIR/NAME.safetensors``; written is
            ``NAME-`` with the first eight digits of the file's sha256.

    Returns:
        The file.

    Raises:
        CheckpointError: The source cannot be read, the target has another
            ending, cannot be written, or is another file already.
    """
    path = Path(target).expanduser()
    if path.suffix not in _ENDINGS or path.is_dir():
        raise CheckpointError(
            f'{target}: expected is the name of a file that ends in '
            f'{" or ".join(_ENDINGS)}, such as work_dirs/published/fcos.pth'
        )
    state, meta = read_weights(fetch(source))
    names = {name: unwrapped_name(name) for name in state}
    for holder in _HOLDERS:
        if all(name.startswith(holder) for name in names.values()):
            names = {name: bare[len(holder) :] for name, bare in names.items()}
    if len({*names.values()}) < len(names):
        raise CheckpointError(
            f'{source} holds weights twice, within and without a wrapper '
            '(module., _orig_mod.): save the state dict of one of them'
        )
    weights = {names[name]: value.detach() for name, value in state.items()}
    meta = _plain({**meta, 'tresnet_det': __version__})
    if path.suffix == '.safetensors':
        # It keeps text alone, and no tensors that share their memory.
        weights = {name: value.clone() for name, value in weights.items()}
        meta = {'meta': repr(meta)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f'.{path.name}.', dir=path.parent
    ) as scratch:
        part = Path(scratch, path.name)
        write_weights(part, weights, 'state_dict', meta)
        digest = _sha256(part)
        final = path.with_name(f'{path.stem}-{digest[:8]}{path.suffix}')
        if final.exists():
            if not final.is_file() or _sha256(final) != digest:
                raise CheckpointError(
                    f'{final} is there already, and another file; give another name'
                )
            return final
        with written_whole(final) as whole:
            os.replace(part, whole)
    return final


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for chunk in iter(lambda: file.read(1 << 20), b''):
            digest.update(chunk)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """Values that every reader of torch's files and ``repr`` can take."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, (np.generic, np.ndarray, torch.Tensor)):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (bool, int, float, type(None))) else str(value)


def load_from_safetensors(filename: str, map_location: Any = None) -> dict[str, Any]:
    """A safetensors file as MMEngine has a checkpoint.

    Args:
        filename: Path of the file.
        map_location: Device on which the tensors are put.

    Raises:
        CheckpointError: It cannot be read.
    """
    state, meta = read_weights(Path(filename))
    told = meta.pop('meta', None)
    if told is not None:
        try:
            meta.update(ast.literal_eval(told))
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            pass  # another's remark of that name
    if isinstance(map_location, (str, torch.device)):
        state = {name: value.to(map_location) for name, value in state.items()}
    return dict(state_dict=state, meta=meta)


def register_safetensors() -> None:
    """Lets ``load_from``, tools and inferencers of OpenMMLab read such files."""
    CheckpointLoader.register_scheme(
        r'.*\.safetensors$', load_from_safetensors, force=True
    )
