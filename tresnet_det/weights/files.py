"""Reading and writing files of weights, safely.

Files are told apart by their first bytes. Pickles are read with
``weights_only=True`` and nothing else, so none of them can run code.
Whatever goes wrong is a :class:`CheckpointError` that says what came, what
was expected and how to mend it.
"""

import json
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..common.atomic import written_whole
from .formats import CheckpointError, StateDict
from .safe_globals import load_others

__all__ = ['find_state_dict', 'read_weights', 'write_weights']

# Where the state dict is in a checkpoint, first found first taken. timm keeps
# its averaged weights, which are those it evaluates, beside the raw ones.
# MMEngine's 'ema_state_dict' is absent with reason: its EMAHook swaps the two
# on saving, so 'state_dict' holds the average and that one the raw weights.
_WRAPPERS = ('state_dict_ema', 'model_ema', 'state_dict', 'model')


def read_weights(
    path: Path, map_location: str = 'cpu'
) -> tuple[StateDict, dict[str, Any]]:
    """Read the state dict and the metadata of a file.

    Args:
        path: A safetensors file or one written by ``torch.save``.
        map_location: Device on which the tensors are put.

    Returns:
        The state dict with the keys of the file, and the file's own remarks
        (safetensors metadata, the ``meta`` entry of a checkpoint).

    Raises:
        CheckpointError: The file cannot be read, would run code, or holds no
            state dict.
    """
    try:
        with open(path, 'rb') as file:
            head = file.read(9)
    except FileNotFoundError:
        raise CheckpointError(
            f'{path} does not exist. Expected is the path '
            'of a checkpoint, timm://NAME or an http(s) '
            'address'
        ) from None
    except IsADirectoryError:
        raise CheckpointError(
            f'{path} is a directory; give the path of the checkpoint in it'
        ) from None
    except OSError as error:
        raise CheckpointError(
            f'{path} cannot be opened: {error.strerror}. Check who may read it'
        ) from error
    if not head:
        raise CheckpointError(f'{path} is empty (0 bytes); copy or download it again')
    # 8 bytes of length, then a JSON header.
    if head[8:] == b'{' or path.suffix == '.safetensors':
        return _read_safetensors(path, map_location)
    if head.startswith((b'PK\x03\x04', b'\x80')):  # zip or bare pickle
        return _read_pickle(path, map_location)
    raise CheckpointError(
        f'{path} is no checkpoint: it begins with {head!r}, and neither '
        'safetensors nor torch.save writes that. Was a web page or a Git LFS '
        'pointer downloaded in its place?'
    )


def _read_safetensors(path: Path, device: str) -> tuple[StateDict, dict[str, Any]]:
    try:
        with safe_open(path, framework='pt', device=device) as file:
            state = {key: file.get_tensor(key) for key in file.keys()}
            return state, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f'{path} is no whole safetensors file ({error}); it may be cut '
            'short. Copy or download it again'
        ) from error


def _names_nested_tensor(path: Path) -> bool:
    """Whether a file asks torch to rebuild a nested tensor.

    torch takes the sizes and offsets of one as they are, so those of a damaged
    file read memory beside the tensor. No other kind that weights_only lets
    through does.
    """
    name = b'_rebuild_nested_tensor'
    with (
        open(path, 'rb') as file,
        mmap(file.fileno(), 0, access=ACCESS_READ) as content,
    ):
        if content.find(name) >= 0:
            return True
    # torch writes its archives uncompressed; others might not.
    with (
        suppress(
            OSError,
            BadZipFile,
            NotImplementedError,
            RuntimeError,
            zlib.error,
            ValueError,
        ),
        ZipFile(path) as archive,
    ):
        return any(
            name in archive.read(part)
            for part in archive.infolist()
            if part.compress_type and part.filename.endswith('.pkl')
        )
    return False


def _read_pickle(path: Path, map_location: str) -> tuple[StateDict, dict[str, Any]]:
    if _names_nested_tensor(path):
        raise CheckpointError(
            f'{path} holds a nested tensor, which is no '
            'weight; save the state dict of the model'
        )
    try:
        content = load_others(path, map_location=map_location)
    except Exception as error:  # a damaged pickle fails in any way at all
        text = str(error)
        refused = re.search(r'(?:GLOBAL|[Uu]nsupported class) ([\w.]+)', text)
        if refused:
            raise CheckpointError(
                f'{path} was refused, and nothing in it was run: it asks for '
                f'{refused[1]}, which is no weight. If you trust where it '
                'comes from, save its state dict alone (torch.save('
                'model.state_dict(), ...)) or as safetensors, there where it '
                'can be loaded'
            ) from None
        raise CheckpointError(
            f'{path} cannot be read as a file of torch.save '
            f'({type(error).__name__}: {text.strip()[:200]}); it may be cut '
            'short. Copy or download it again'
        ) from error
    return find_state_dict(path, content)


def find_state_dict(path: str | Path, content: Any) -> tuple[StateDict, dict[str, Any]]:
    """Find the state dict and the metadata in what a checkpoint holds.

    Args:
        path: Where it was read, for the message.
        content: What was read.

    Raises:
        CheckpointError: There is none.
    """
    meta: dict[str, Any] = {}
    for _ in _WRAPPERS:  # a file that holds itself would have no end
        if not isinstance(content, Mapping):
            break
        if isinstance(content.get('meta'), Mapping):
            meta.update(content['meta'])
        inner = next(
            (key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None
        )
        if inner is None:
            break
        content = content[inner]
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f'{path} holds a {type(content).__name__}; expected is a state '
            f'dict, bare or under one of the keys {", ".join(_WRAPPERS)}'
        )
    others = [
        str(key)
        for key, value in content.items()
        if not (
            isinstance(key, str) and isinstance(value, Tensor) and not value.is_meta
        )
    ]  # which has no values
    if others or not content:
        raise CheckpointError(
            f'{path} is no checkpoint: it has no state dict under any of the '
            f'keys {", ".join(_WRAPPERS)}, and is none itself: '
            f'{", ".join(others[:4]) or "nothing"} is no tensor'
        )
    return dict(content), meta


def write_weights(
    path: Path, state: StateDict, wrapper: str, meta: Mapping[str, str]
) -> None:
    """Write a state dict, whole or not at all.

    Args:
        path: Where to; the ending ``.safetensors`` chooses that format, any
            other a file of ``torch.save``.
        state: The state dict.
        wrapper: Key under which ``torch.save`` gets it.
        meta: Remarks to keep with it.

    Raises:
        CheckpointError: The file cannot be written there.
    """
    try:
        with written_whole(path) as part:
            if path.suffix == '.safetensors':
                # 'format' is what other libraries ask such a file for.
                # Its save_file makes a file that nobody else may read.
                written = save(
                    {key: value.contiguous() for key, value in state.items()},
                    {'format': 'pt', **meta},
                )
                part.write_bytes(_with_sorted_header(written))
            else:
                torch.save({wrapper: state, 'meta': dict(meta)}, part)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f'{path} cannot be written: {error}') from error


def _with_sorted_header(written: bytes) -> bytes:
    """The same weights as the same bytes: safetensors writes remarks in any order."""
    size = int.from_bytes(written[:8], 'little')
    header = json.loads(written[8 : 8 + size])
    remarks = header.pop('__metadata__')
    header = {'__metadata__': dict(sorted(remarks.items())), **header}
    text = json.dumps(header, separators=(',', ':'), ensure_ascii=False).encode()
    text += b' ' * (-len(text) % 8)  # the weights begin at a multiple of 8
    return len(text).to_bytes(8, 'little') + text + written[8 + size :]
