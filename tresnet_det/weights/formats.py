"""Key names of TResNet checkpoints: one table, a column for each format.

Three sets of names are in use for one and the same network: ours (``mm``),
the official code's (github mrT23/TResNet) and timm's, in which the weights
are published today. Everything here is a pure ``dict -> dict``; files are the
business of :mod:`tresnet_det.weights.files`.

Besides its names a format differs in one thing, the scale of a norm; see
:mod:`tresnet_det.weights.norm_scale`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ..common.errors import UserError
from .norm_scale import scales_from_official, scales_to_official

__all__ = [
    'CheckpointError',
    'Converted',
    'FORMATS',
    'from_ours',
    'locate',
    'our_names',
    'to_ours',
]

StateDict = dict[str, Tensor]

# What each field of the table may stand for.
_FIELDS = {
    'block': r'layer[1-4]\.[0-9]{1,3}',
    'i': r'[123]',
    'leaf': r'weight|bias',
    'norm': r'weight|bias|running_mean|running_var|num_batches_tracked',
    # A strided conv is followed by a blur; the official code wraps the two
    # in one more Sequential.
    'blur': r'(?:\.0)?',
    # A strided shortcut begins with an average pool, which takes index 0.
    'pool': r'[01]',
}
# mm (ours), official, timm
_TABLE = (
    ('conv1.weight', 'body.conv1.0.weight', 'body.conv1.conv.weight'),
    ('bn1.{norm}', 'body.conv1.1.{norm}', 'body.conv1.bn.{norm}'),
    (
        '{block}.conv{i}.weight',
        'body.{block}.conv{i}{blur}.0.weight',
        'body.{block}.conv{i}.conv.weight',
    ),
    (
        '{block}.bn{i}.{norm}',
        'body.{block}.conv{i}{blur}.1.{norm}',
        'body.{block}.conv{i}.bn.{norm}',
    ),
    (
        '{block}.se.fc{i}.{leaf}',
        'body.{block}.se.fc{i}.{leaf}',
        'body.{block}.se.fc{i}.{leaf}',
    ),
    (
        '{block}.downsample.conv.weight',
        'body.{block}.downsample.{pool}.0.weight',
        'body.{block}.downsample.{pool}.conv.weight',
    ),
    (
        '{block}.downsample.bn.{norm}',
        'body.{block}.downsample.{pool}.1.{norm}',
        'body.{block}.downsample.{pool}.bn.{norm}',
    ),
    ('head.fc.{leaf}', 'head.fc.{leaf}', 'head.fc.{leaf}'),
)
# Left out on purpose, whatever the format: pattern and reason.
_DROPPED = (
    (re.compile(r'.*\.filt'), 'fixed blur filter'),
    (re.compile(r'head\.(?!fc\.(weight|bias)$).*'), 'another kind of head'),
)
# Format: its column and the keys that, together, only this format has. In
# the mm format they must tell TResNet from ResNet, which has no se.
FORMATS = {
    'mm': (0, ('conv1.weight', 'layer1.0.se.fc1.weight')),
    'official': (1, ('body.conv1.0.weight',)),
    'timm': (2, ('body.conv1.conv.weight',)),
}


class CheckpointError(UserError):
    """A checkpoint that cannot be found, read, recognised or made to fit.

    The one exception that reading, converting and loading weights raises.
    """


@dataclass(frozen=True)
class Converted:
    """A state dict in our names.

    Attributes:
        state: Tensors by our bare names (``conv1.weight``, ``layer1.0...``,
            ``head.fc.weight``).
        keys: The key that each of them had in the file.
        format: Name of the format it came in.
        prefix: What stood before the backbone's names, e.g. ``backbone.``.
        dropped: Left out on purpose: key in the file to reason.
        unexpected: Keys in the file that no TResNet has.
    """

    state: StateDict
    keys: dict[str, str]
    format: str
    prefix: str
    dropped: dict[str, str]
    unexpected: list[str]


@cache
def _rows(column: int) -> tuple['re.Pattern[str]', ...]:
    """The patterns of one column, a named group for each field."""
    patterns = []
    for row in _TABLE:
        pattern = re.escape(row[column])
        for field, values in _FIELDS.items():
            pattern = pattern.replace(
                re.escape('{' + field + '}'), f'(?P<{field}>{values})'
            )
        patterns.append(re.compile(pattern))
    return tuple(patterns)


def _match(key: str, column: int) -> tuple[int, dict[str, str]] | None:
    """Row of the table that holds a key, and what its fields stand for."""
    for row, pattern in enumerate(_rows(column)):
        found = pattern.fullmatch(key)
        if found:
            return row, found.groupdict()
    return None


def locate(keys: Iterable[str], prefix: str | None = None) -> tuple[str, str]:
    """Say in which format a TResNet is in a state dict, and after what prefix.

    Args:
        keys: Keys of a state dict of a backbone, a classifier or a detector.
        prefix: Look only at keys that begin with this, for files that hold
            more than one TResNet (``'teacher.backbone.'``).

    Returns:
        Name of the format and the prefix of the backbone's keys.

    Raises:
        CheckpointError: There is no TResNet, or more than one.
    """
    present = set(keys)
    found = []
    for name, (_, signature) in FORMATS.items():
        ends = [k[: -len(signature[0])] for k in present if k.endswith(signature[0])]
        found += [
            (name, start)
            for start in ends
            if (not start or start.endswith('.'))
            and all(start + key in present for key in signature)
        ]
    if prefix is not None:
        prefix = prefix and prefix.rstrip('.') + '.'  # as mmengine has it
        found = [(name, start) for name, start in found if start == prefix]
    if len(found) > 1:
        prefixes = sorted(start for _, start in found)
        raise CheckpointError(
            f'it holds {len(found)} TResNets, with the prefixes {prefixes}; '
            'choose one with prefix=...'
        )
    if not found:
        raise CheckpointError(_not_tresnet(present, prefix))
    return found[0]


def _not_tresnet(keys: set[str], prefix: str | None) -> str:
    """What to say of a state dict in which no TResNet was found."""
    first = ', '.join(sorted(keys)[:4]) or 'none at all'
    where = '' if prefix is None else f' with the prefix {prefix!r}'
    looks = ''
    if any(re.fullmatch(r'(.*\.)?layer1\.0\.conv1\.weight', key) for key in keys):
        looks = (
            ' They look like those of a ResNet (torchvision, mmdet), '
            'which has other layers.'
        )
    signatures = '; '.join(
        f'{name}: {" and ".join(signature)}' for name, (_, signature) in FORMATS.items()
    )
    return (
        f'its keys are not those of a TResNet{where}: {first} ...{looks} '
        f'Expected are, by format, {signatures}'
    )


def our_names(
    keys: Iterable[str], format_name: str, prefix: str
) -> dict[str, str | None]:
    """Give each key of a file (or of a model) its name in ours.

    Args:
        keys: Keys of the state dict.
        format_name: Its format, as :func:`locate` found it.
        prefix: Its prefix, as :func:`locate` found it.

    Returns:
        For each key our bare name, or None where the table has no such key.
    """
    column = FORMATS[format_name][0]
    # In a classifier of MM* the head is beside the backbone, not in it; a wrapper
    # may be around the backbone alone.
    beside = re.sub(r'backbone\.((module|_orig_mod)\.)*$', '', prefix)
    names: dict[str, str | None] = {}
    for key in keys:
        start = beside if key.startswith(f'{beside}head.') else prefix
        found = _match(key[len(start) :], column) if key.startswith(start) else None
        names[key] = _TABLE[found[0]][0].format(**found[1]) if found else None
    return names


def _check_tensor(key: str, name: str, value: Tensor) -> None:
    """Refuse what cannot be a weight, before anything is computed with it."""
    size = (
        2
        if name == 'head.fc.weight'
        else 4
        if re.search(r'(conv|fc)\d?\.weight', name)
        else None
    )
    if value.is_nested or value.layout is not torch.strided or value.is_quantized:
        problem = 'is sparse, quantised or nested'
    elif value.is_complex() or (value.is_floating_point() and value.element_size() < 2):
        problem = f'has the dtype {value.dtype}'
    elif (
        not value.is_meta
        and value.untyped_storage().nbytes() < value.numel() * value.element_size()
    ):
        problem = f'has the shape {tuple(value.shape)} but fewer values'
    elif size is not None and value.dim() != size:
        problem = f'has the shape {tuple(value.shape)}'
    else:
        return
    raise CheckpointError(
        f'{key} {problem}; expected is a plain tensor of floats'
        f'{f" with {size} dimensions" if size else ""}. Save the state dict '
        'of the model in float32'
    )


def to_ours(
    state: Mapping[str, Tensor],
    prefix: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Converted:
    """Bring a TResNet state dict of any format into our names.

    Our own format comes back with the very same tensors; only the official
    format has its norm scales replaced by ``|gamma| + eps``.

    Args:
        state: State dict, with or without a prefix (``module.``,
            ``backbone.``), maybe of a whole detector.
        prefix: See :func:`locate`.
        dtype: Precision in which ``|gamma| + eps`` is computed at least;
            float32 gives timm's published values bit for bit, float64 what
            the official code computes in float64.

    Raises:
        CheckpointError: There is no TResNet in it, or more than one, or one
            of its tensors is of a kind that no weight is.
    """
    format_name, start = locate(state, prefix)
    ours: StateDict = {}
    keys: dict[str, str] = {}
    dropped: dict[str, str] = {}
    unexpected: list[str] = []
    for key, name in our_names(state, format_name, start).items():
        if name is not None:
            _check_tensor(key, name, state[key])
            ours[name], keys[name] = state[key], key
            continue
        bare = key[len(start) :] if key.startswith(start) else key
        reason = next(
            (why for pattern, why in _DROPPED if pattern.fullmatch(bare)), None
        )
        if reason is None and not key.startswith(start):
            reason = 'outside the backbone'
        if reason is None:
            unexpected.append(key)
        else:
            dropped[key] = reason
    if format_name == 'official':
        ours = scales_from_official(ours, dtype)
    return Converted(ours, keys, format_name, start, dropped, unexpected)


def from_ours(state: Mapping[str, Tensor], format_name: str) -> StateDict:
    """Write a state dict in our bare names in another format.

    ``'mm'`` puts ``backbone.`` before the backbone's names: so it fits
    MMDetection's and MMPretrain's models, and this package reads it as well.

    What ``'official'`` cannot hold, :func:`.scales_to_official` says.

    Args:
        state: Tensors by our bare names.
        format_name: ``'mm'``, ``'timm'`` or ``'official'``.

    Raises:
        CheckpointError: The format or one of the names is unknown, or a
            negative scale has no conv to take its sign.
    """
    if format_name not in FORMATS:
        raise CheckpointError(
            f'unknown format {format_name!r}; known are {", ".join(FORMATS)}'
        )
    if format_name == 'official':
        try:
            state = scales_to_official(state)
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(
                'the sign of a negative norm scale goes into the conv and the '
                'running mean before it, which are not there or of another '
                f'size: {error}'
            ) from error
    column = FORMATS[format_name][0]
    written: StateDict = {}
    for name, value in state.items():
        found = _match(name, FORMATS['mm'][0])
        if found is None:
            raise CheckpointError(f'{name!r} is no name of our TResNet')
        row, fields = found
        if format_name == 'mm':
            in_head = name.startswith('head.')
            written[name if in_head else f'backbone.{name}'] = value
            continue
        if 'block' in fields:
            stage, index = fields['block'][len('layer') :].split('.')
            strided = stage != '1' and index == '0'
            blurred = '2' if f'{fields["block"]}.conv3.weight' in state else '1'
            fields['pool'] = '1' if strided else '0'
            fields['blur'] = '.0' if strided and fields.get('i') == blurred else ''
        written[_TABLE[row][column].format(**fields)] = value
    return written
