"""Loading, inspecting and converting TResNet weights of every format.

The one path that ``init_cfg=dict(type='Pretrained', ...)``, the function
:func:`load_pretrained` and ``tools/model_converters/convert_checkpoint.py`` all take:
:mod:`tresnet_det.weights.files` finds and reads the file,
:mod:`tresnet_det.weights.formats` recognises the format by its keys and
gives our names, and what was done with each tensor is reported here.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from mmengine.logging import print_log
from torch import Tensor

from ..common.errors import some
from ..environment.versions import __version__
from .archs import ARCHS
from .fetch import fetch
from .files import read_weights, write_weights
from .formats import (
    FORMATS,
    CheckpointError,
    Converted,
    from_ours,
    locate,
    our_names,
    to_ours,
)
from .load_report import LoadReport, by_reason

__all__ = [
    'Checkpoint',
    'CheckpointError',
    'LoadReport',
    'convert_checkpoint',
    'describe_arch',
    'load_pretrained',
    'open_checkpoint',
]

# Under which key each format's readers look for the state dict.
_WRAPPER = {'mm': 'state_dict', 'official': 'model', 'timm': 'state_dict'}


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights, read and brought into our names.

    Attributes:
        file: The file that was read.
        weights: Tensors in our names, and what was left out of them.
        meta: Remarks that the file holds about itself.
    """

    file: Path
    weights: Converted
    meta: dict[str, Any]

    @property
    def arch(self) -> str:
        return describe_arch(self.weights.state)

    @property
    def num_classes(self) -> int | None:
        head = self.weights.state.get('head.fc.weight')
        return None if head is None else head.shape[0]

    def __str__(self) -> str:
        """A few lines for a person to read."""
        state = self.weights.state
        dtypes = sorted({str(v.dtype)[len('torch.') :] for v in state.values()})
        lines = [
            f'file        {self.file}',
            f'format      {self.weights.format}, prefix {self.weights.prefix!r}',
            f'arch        {self.arch}',
            f'classes     {self.num_classes or "no classifier"}',
            f'tensors     {len(state)} ({", ".join(dtypes)}), '
            f'{sum(v.numel() for v in state.values()):,} values',
            f'dropped     {by_reason(self.weights.dropped) or "nothing"}',
            f'unexpected  {some(self.weights.unexpected) or "nothing"}',
        ]
        lines += [
            f'meta        {key}: {str(value)[:100]!r}'
            for key, value in self.meta.items()
        ]
        return '\n'.join(lines)


def describe_arch(state: Mapping[str, Tensor]) -> str:
    """Say which arch a state dict in our names is of.

    Returns:
        A name out of ARCHS (where stages are absent: the one that begins
        so), else the dict that `TResNet` takes for it, without slopes.
    """
    blocks = {
        tuple(map(int, found.groups()))
        for name in state
        if (found := re.match(r'layer(\d)\.(\d+)\.', name))
    }
    stages = sorted({stage for stage, _ in blocks})
    depths = tuple(sum(s == stage for s, _ in blocks) for stage in stages)
    bottleneck = tuple(f'layer{stage}.0.conv3.weight' in state for stage in stages)
    width = state['conv1.weight'].shape[0]
    for name, arch in ARCHS.items():
        n = len(stages)
        if (arch.depths[:n], arch.bottleneck[:n], arch.width) == (
            depths,
            bottleneck,
            width,
        ):
            return name
    return f'dict(depths={depths}, width={width}, bottleneck={bottleneck})'


def open_checkpoint(
    checkpoint: str | PathLike,
    prefix: str | None = None,
    map_location: str = 'cpu',
    dtype: torch.dtype = torch.float32,
) -> Checkpoint:
    """Find, read and recognise weights of any format.

    Args:
        checkpoint: See :func:`load_pretrained`.
        prefix: See :func:`load_pretrained`.
        map_location: Device on which the tensors are put.
        dtype: Least precision in which official norm scales are computed.

    Raises:
        CheckpointError: See :func:`load_pretrained`.
    """
    file = fetch(checkpoint)
    state, meta = read_weights(file, map_location)
    try:
        weights = to_ours(state, prefix, dtype)
    except CheckpointError as error:
        raise CheckpointError(f'{file}: {error}') from None
    return Checkpoint(file, weights, meta)


def load_pretrained(
    model: nn.Module,
    checkpoint: str | PathLike,
    strict: bool = True,
    prefix: str | None = None,
    map_location: str = 'cpu',
) -> LoadReport:
    """Load published or own weights into a TResNet.

    Official, timm and mm names are recognised by the keys, with any prefix
    (``module.``, ``backbone.``). A classifier in the file is dropped where
    the model has none, and so are stages that the model does not build. Of
    checkpoints with averaged weights the average is taken. One line is
    logged. Nothing is changed when an error is raised.

    Args:
        model: A backbone, a `TResNetClassifier`, or a detector or classifier
            of MM* whose backbone is one; other parts of it are left alone.
        checkpoint: Path of a safetensors file or one of torch.save,
            ``timm://NAME`` (hub repository timm/NAME), or an http(s) address.
        strict: False loads what fits, and warns of all that did not.
        prefix: Prefix of the backbone's keys, needed only where the file
            holds more than one TResNet.
        map_location: Device on which the file is read, before the values are
            copied to where the model is.

    Returns:
        What became of each tensor.

    Raises:
        CheckpointError: The file cannot be had, read or recognised, or, with
            strict, does not fit the model in every tensor.
    """
    target = model.state_dict()
    place, start = locate(target)
    names = {
        ours: name for name, ours in our_names(target, place, start).items() if ours
    }
    # Official scales are computed at the model's precision, and so once.
    dtype = target[names['conv1.weight']].dtype
    source = open_checkpoint(checkpoint, prefix, map_location, dtype)
    built = {name.partition('.')[0] for name in names}
    values, mismatched = {}, {}
    dropped = dict(source.weights.dropped)
    unexpected = list(source.weights.unexpected)
    for ours, value in source.weights.state.items():
        part, key = ours.partition('.')[0], source.weights.keys[ours]
        if ours not in names:
            if part not in built:
                dropped[key] = (
                    'classifier'
                    if part == 'head'
                    else 'stage that the model does not build'
                )
            else:
                unexpected.append(key)
        elif value.shape != target[names[ours]].shape:
            mismatched[names[ours]] = (
                tuple(value.shape),
                tuple(target[names[ours]].shape),
            )
        else:
            values[names[ours]] = value
    # The counter has no use at a fixed momentum, and old files lack it.
    missing = tuple(
        name
        for ours, name in names.items()
        if ours not in source.weights.state and not ours.endswith('num_batches_tracked')
    )
    report = LoadReport(
        str(source.file),
        source.weights.format,
        source.arch,
        tuple(values),
        dropped,
        missing,
        tuple(unexpected),
        mismatched,
    )
    if strict and not report.complete:
        ours = describe_arch({k: target[v] for k, v in names.items()})
        raise CheckpointError(_misfit(report, ours))
    model.load_state_dict(values, strict=False)
    if report.complete:
        print_log(str(report), logger='current')
    else:
        print_log(
            f'NOT ALL WEIGHTS FIT (strict=False). {report}',
            logger='current',
            level=logging.WARNING,
        )
    return report


def _misfit(report: LoadReport, arch: str) -> str:
    """What to say of a file that does not fit the model."""
    if (
        set(report.mismatched)
        and not (report.missing or report.unexpected)
        and all('head.fc.' in name for name in report.mismatched)
    ):
        mend = (
            'The classifier has another number of classes: build the '
            'model with that of the file, or give the file to the '
            "backbone's own init_cfg"
        )
    elif report.arch != arch:
        mend = f'Build the model with the arch of the file ({report.arch})'
    else:
        mend = 'Is the file whole, and in_channels that of the file?'
    return (
        f'{report.file} looks like TResNet {report.arch} ({report.format} '
        f'format), the model is {arch}. {report.problems()}. {mend}, or '
        'load what fits with strict=False'
    )


def convert_checkpoint(
    source: str | PathLike, target: str | PathLike, to: str, prefix: str | None = None
) -> Checkpoint:
    """Write weights of any format in another one, whole or not at all.

    What :func:`~tresnet_det.weights.formats.from_ours` says of each
    format holds. Beside the tensors the file tells where they came from.

    Args:
        source: See `checkpoint` of :func:`load_pretrained`.
        target: File to write; ``.safetensors`` chooses that format.
        to: 'mm', 'timm' or 'official'.
        prefix: See :func:`load_pretrained`.

    Returns:
        What was read.

    Raises:
        CheckpointError: The source cannot be read, has keys that no TResNet
            has or lacks what one is known by, or the target cannot be written.
    """
    read = open_checkpoint(source, prefix)
    if read.weights.unexpected:
        raise CheckpointError(
            f'{read.file} has {len(read.weights.unexpected)} keys that no '
            f'TResNet has ({some(read.weights.unexpected)}); nothing was '
            'written'
        )
    missing = [name for name in FORMATS['mm'][1] if name not in read.weights.state]
    if missing:
        raise CheckpointError(
            f'{read.file} has no {" and no ".join(missing)}, without which '
            'what is written could not be told from a ResNet; is the file '
            'whole?'
        )
    state = from_ours(read.weights.state, to)
    write_weights(
        Path(target).expanduser(),
        state,
        _WRAPPER[to],
        {
            'source': str(source),
            'source_format': read.weights.format,
            'weights_format': to,
            'arch': read.arch,
            'tresnet_det': __version__,
        },
    )
    return read
