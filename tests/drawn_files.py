"""Drawn checkpoint files: damaged, odd and hostile ones.

Strategies of hypothesis; what must hold of a file is in fuzz_checkpoints.py.
"""

import io
import json
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from safetensors.torch import save

from tresnet_det import TResNet
from tresnet_det.weights.formats import FORMATS, from_ours

ARCH = dict(depths=(1, 1, 1, 1), width=1)
TRACE = 'trace'  # a pickle whose code is run writes this file
WRAPPERS = ('state_dict', 'model', 'state_dict_ema', 'model_ema', 'meta')


class Case(NamedTuple):
    """A file to read: its ending and its bytes."""

    suffix: str
    data: bytes


def saved(content: Any, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


torch.manual_seed(0)
STATE = TResNet(ARCH).state_dict()
STATES = {name: from_ours(STATE, name) for name in FORMATS}
SMALL = {'a.weight': torch.arange(6.0).view(2, 3), 'a.count': torch.tensor(3)}
WHOLE = {
    'zip': saved({'state_dict': STATES['timm'], 'meta': {'epoch': 1}}),
    'small zip': saved({'model': SMALL}),
    'legacy': saved({'model': STATES['official']}, zipped=False),
    'small legacy': saved(SMALL, zipped=False),
    'safetensors': save(STATES['mm'], {'format': 'pt'}),
    'small safetensors': save(SMALL, {'format': 'pt'}),
}
SUFFIXES = st.sampled_from(['.pth', '.safetensors', '.bin', ''])


# Damaged bytes -------------------------------------------------------------

NUMBERS = [
    struct.pack('<Q', n)
    for n in (0, 1, 255, 2**16 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1)
]
PLACES = st.one_of(st.integers(0, 200), st.integers(-400, -1), st.floats(0, 1))
PIECES = st.one_of(st.binary(max_size=9), st.sampled_from(NUMBERS))
CHANGES = st.tuples(
    st.sampled_from(['overwrite', 'insert', 'delete', 'cut', 'copy']), PLACES, PIECES
)


def damage(draw: Callable, whole: bytes) -> bytes:
    """Some bytes overwritten, moved, left out, cut off."""
    data = bytearray(whole)
    for change, place, piece in draw(st.lists(CHANGES, max_size=4)):
        at = int(place * len(data)) if isinstance(place, float) else place
        at = min(max(at + (len(data) if at < 0 else 0), 0), len(data))
        if change == 'overwrite':
            data[at : at + len(piece)] = piece
        elif change == 'insert':
            data[at:at] = piece
        elif change == 'delete':
            del data[at : at + len(piece)]
        elif change == 'copy':
            data[at:at] = data[at : at + 64]
        else:
            del data[at:]
    return bytes(data)


@st.composite
def damaged(draw: Callable) -> bytes:
    return damage(draw, WHOLE[draw(st.sampled_from(list(WHOLE)))])


@st.composite
def damaged_members(draw: Callable) -> bytes:
    """A sound archive whose pickle, or another member, is damaged."""
    whole = WHOLE[draw(st.sampled_from(['zip', 'small zip']))]
    source, file = zipfile.ZipFile(io.BytesIO(whole)), io.BytesIO()
    victim = draw(
        st.sampled_from(['data.pkl', 'data.pkl', 'version', 'byteorder', 'data/0'])
    )
    packing = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    with zipfile.ZipFile(file, 'w', packing) as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith(f'/{victim}'):
                data = damage(draw, data)
            target.writestr(name, data)
    return file.getvalue()


# Odd structures ------------------------------------------------------------

DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.uint8,
    torch.bool,
    torch.complex64,
]
SHAPES = st.lists(st.integers(0, 4), max_size=5)
KINDS: dict[str, Callable[[torch.Tensor], Any]] = {
    'sparse': torch.Tensor.to_sparse,
    'meta': lambda t: t.to('meta'),
    'expanded': lambda t: t.reshape(-1)[:1].expand(10**15),
    'quantised': lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8),
    'nested': lambda t: torch.nested.nested_tensor([t.float()]),
    'parameter': lambda t: torch.nn.Parameter(t.float()),
}


@st.composite
def tensors(draw: Callable) -> Any:
    tensor = torch.zeros(draw(SHAPES), dtype=draw(st.sampled_from(DTYPES)))
    kind = draw(st.sampled_from(['plain'] * len(KINDS) + list(KINDS)))
    try:
        return tensor if kind == 'plain' else KINDS[kind](tensor)
    except RuntimeError:  # not every dtype has every kind
        return tensor


NAMES = st.one_of(
    st.sampled_from([*WRAPPERS, *STATE, *STATES['timm'], *STATES['official']]),
    st.sampled_from(
        [
            '',
            '.',
            'head.fc.weight',
            'head.x',
            'a.filt',
            'backbone.',
            'module.',
            'layer1.' + '9' * 5000 + '.conv1.weight',
            'layer1.\u0663.conv1.weight',
        ]
    ),
    st.text(max_size=8),
)
KEYS = st.one_of(NAMES, st.integers(), st.none(), st.tuples(st.integers()))
THINGS = st.recursive(
    st.one_of(
        tensors(),
        st.none(),
        st.integers(),
        st.floats(),
        st.text(),
        st.binary(max_size=9),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=6,
)


@st.composite
def odd_states(draw: Callable) -> Any:
    """A good state dict with keys lost, renamed, of other values."""
    state: dict[Any, Any] = dict(STATES[draw(st.sampled_from(list(FORMATS)))])
    prefix = draw(st.sampled_from(['', 'module.', 'a.backbone.']))
    dtype = draw(st.sampled_from([None] * len(DTYPES) + DTYPES))
    state = {
        prefix + key: value.to(dtype or value.dtype) for key, value in state.items()
    }
    keys = st.sampled_from(list(state))
    for key in draw(st.lists(keys, max_size=3)):
        state.pop(key, None)
    state.update(
        draw(
            st.dictionaries(
                st.one_of(keys, KEYS), st.one_of(tensors(), THINGS), max_size=3
            )
        )
    )
    return state


@st.composite
def structures(draw: Callable) -> bytes:
    """A file of torch.save in order, that holds something odd."""
    content = draw(st.one_of(odd_states(), THINGS))
    for wrapper in draw(st.lists(st.sampled_from(WRAPPERS), max_size=2)):
        content = {wrapper: content}
    if isinstance(content, dict) and draw(st.booleans()):
        content[draw(st.sampled_from(WRAPPERS))] = content  # of itself
    try:
        return saved(content, draw(st.booleans()))
    except (RuntimeError, NotImplementedError, RecursionError):
        return saved({})  # what cannot be saved needs no reader


ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        'dtype': st.sampled_from(
            [
                'F32',
                'F64',
                'BF16',
                'I64',
                'BOOL',
                'F8_E4M3',
                'F8_E8M0',
                'F4',
                'C64',
                'U64',
                'X',
                '',
                3,
            ]
        ),
        'shape': st.lists(
            st.one_of(
                st.integers(-1, 5), st.sampled_from([2**31, 2**40, 2**62, 2**64])
            ),
            max_size=4,
        ),
        'data_offsets': st.lists(
            st.one_of(st.integers(-1, 64), st.sampled_from([2**31, 2**62, 2**64 - 1])),
            max_size=3,
        ),
    },
)


@st.composite
def safetensors_files(draw: Callable) -> bytes:
    """A header of JSON, sound or not, and some data."""
    header: Any = draw(
        st.dictionaries(NAMES, st.one_of(ENTRIES, st.none()), max_size=3)
    )
    if draw(st.booleans()):
        header['__metadata__'] = draw(
            st.one_of(
                st.dictionaries(st.text(max_size=3), st.text(max_size=3)),
                st.integers(),
                st.lists(st.text()),
            )
        )
    data = b''
    if draw(st.booleans()):  # offsets that fit
        for entry in header.values():
            if isinstance(entry, dict) and 'shape' in entry:
                size = 4 * math.prod(entry['shape'])
                if 0 <= size < 1000:
                    entry.update(
                        dtype='F32', data_offsets=[len(data), len(data) + size]
                    )
                    data += bytes(size)
    text = json.dumps(header).encode()
    size = draw(
        st.one_of(st.just(struct.pack('<Q', len(text))), st.sampled_from(NUMBERS))
    )
    return size + text + data


# Pickles that would run code -----------------------------------------------

COMMANDS = [
    ('os', 'system', (f'echo > {TRACE}',)),
    ('posix', 'system', (f'echo > {TRACE}',)),
    ('subprocess', 'call', (['touch', TRACE],)),
    ('builtins', 'open', (TRACE, 'w')),
    ('__builtin__', 'exec', (f"open('{TRACE}', 'w')",)),
    ('builtins', 'eval', (f"open('{TRACE}', 'w')",)),
    ('builtins', 'getattr', (os, 'system')),
    ('io', 'open', (TRACE, 'w')),
    ('os', 'mkdir', (TRACE,)),
    ('shutil', 'copy', ('/dev/null', TRACE)),
    ('torch', 'save', (0, TRACE)),
    ('torch.serialization', 'load', ('nothing',)),
    ('numpy', 'save', (TRACE, 0)),
    ('mmengine.fileio', 'dump', ({}, TRACE + '.json')),
]


def call(module: str, name: str, arguments: Any) -> bytes:
    """Opcodes that call a function, as __reduce__ writes them."""
    try:
        inner = pickle.dumps(arguments, protocol=2)[2:-1]
    except TypeError:  # a module among them: name it
        inner = b'(' + b'cos\nsystem\n' + b'X\x06\0\0\0system' + b't'
    return f'c{module}\n{name}\n'.encode() + inner + b'R'


VALUES = st.sampled_from(
    [
        b'N',
        b'K\x07',
        b'}',
        b']',
        b'(',
        b')',
        b'0',
        b'2',
        b't',
        b'd',
        b'l',
        b's',
        b'a',
        b'u',
        b'e',
        b'b',
        b'R',
        b'q\x00',
        b'h\x00',
        b'X\x01\0\0\0a',
        b'ctorch._utils\n_rebuild_tensor_v2\n',
        b'ccollections\nOrderedDict\n',
        b'cmmengine.logging.history_buffer\nHistoryBuffer\n',
        b'cbuiltins\ngetattr\n',
        b'cnumpy.core.multiarray\nscalar\n',
    ]
)


@st.composite
def hostile(draw: Callable) -> bytes:
    """A pickle among whose opcodes is a call; bare, or in a zip."""
    parts = draw(st.lists(VALUES, max_size=6))
    parts.insert(
        draw(st.integers(0, len(parts))), call(*draw(st.sampled_from(COMMANDS)))
    )
    data = b'\x80\x02' + b''.join(parts) + b'.'
    if draw(st.booleans()):
        return data
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('archive/data.pkl', data)
        archive.writestr('archive/version', '3\n')
    return file.getvalue()


CASES = st.builds(
    Case,
    SUFFIXES,
    st.one_of(
        damaged(),
        damaged(),
        damaged_members(),
        structures(),
        structures(),
        safetensors_files(),
        hostile(),
        st.binary(max_size=64),
    ),
)
