"""Lets torch.load read what mmengine writes, with weights_only on.

From torch 2.6 on, torch.load refuses classes that it does not know.  The
checkpoints of mmengine hold, beside tensors, its message hub's log values
(HistoryBuffer) and NumPy scalars; resuming and testing would fail on them.
The classes listed here only hold data: reading them runs no code of a file.
"""

import argparse
import os
import pathlib
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.optim import OneCycleParamScheduler
from mmengine.utils import digit_version

__all__ = ['allow_mmengine_checkpoints', 'data_only', 'load', 'load_others']

# torch's own switches.
_FORCE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'

# What trainers keep of their command line beside the weights (timm: args), as
# files of torch.save name it. All are of the standard library, hold what they
# are given and do nothing: no file is looked at by a pure path.
_OF_COMMAND_LINES: list[Any] = [
    argparse.Namespace,
    types.SimpleNamespace,
    *(
        (kind, f'{module}.{name}')
        for kind, names in (
            (pathlib.PurePosixPath, ('PosixPath', 'PurePosixPath')),
            (pathlib.PureWindowsPath, ('WindowsPath', 'PureWindowsPath')),
        )
        for name in names
        for module in ('pathlib', 'pathlib._local')  # Python 3.13
    ),
]


class _OneCycle:
    """Stands for the scheduler whose state names one of its functions: what a
    file could make of the class itself is empty."""

    # Here too, as the fork of mmengine allows getattr itself while it reads.
    _annealing_cos = staticmethod(OneCycleParamScheduler._annealing_cos)
    _annealing_linear = staticmethod(OneCycleParamScheduler._annealing_linear)


def _history_method(owner: Any, name: str) -> Callable:
    """Stands for getattr in checkpoints: HistoryBuffer keeps a table of its
    own methods, which pickle writes as getattr(HistoryBuffer, name)."""
    allowed = {
        HistoryBuffer: ('min', 'max', 'current', 'mean'),
        _OneCycle: ('_annealing_cos', '_annealing_linear'),
    }
    if isinstance(owner, type) and name in allowed.get(owner, ()):
        return getattr(owner, name)
    raise UnpicklingError(
        f'the file asks for {name!r} of {owner!r}; of all attributes only '
        "HistoryBuffer's statistics and OneCycleLR's curve are allowed in a "
        'checkpoint'
    )


def allow_mmengine_checkpoints() -> None:
    """Put the classes in mmengine's checkpoints on torch's allow-list."""
    if digit_version(torch.__version__) < digit_version('2.6'):
        return  # weights_only is off by default, and names cannot be mapped
    try:
        from numpy._core import multiarray  # NumPy 2
    except ImportError:
        from numpy.core import multiarray  # type: ignore[no-redef]
    classes: list[Any] = [
        HistoryBuffer,
        multiarray._reconstruct,
        multiarray.scalar,
        np.ndarray,
        np.dtype,
        (_history_method, 'builtins.getattr'),
        (
            _OneCycle,
            f'{OneCycleParamScheduler.__module__}.{OneCycleParamScheduler.__qualname__}',
        ),
    ]
    # Since NumPy 1.25 every dtype has a class of its own.
    classes += {type(np.dtype(code)) for code in '?bBhHiIlLqQefdg'}
    torch.serialization.add_safe_globals(classes)


def load(file: Any, **options: Any) -> Any:
    """What ``torch.load`` gives, with mmengine's classes allowed.

    The fork of mmengine allows some of them itself while it reads, and strikes
    them off the list afterwards, whoever had put them there.

    Args:
        file: A path, or something to read from.
        options: Of ``torch.load``.
    """
    allow_mmengine_checkpoints()
    return torch.load(file, **options)


@contextmanager
def data_only() -> Iterator[None]:
    """Holds whoever reads a checkpoint inside to ``weights_only``.

    The reader of the fork of mmengine else runs what torch refuses. Before torch
    2.6 nothing changes: that torch cannot read mmengine's checkpoints so.
    """
    if digit_version(torch.__version__) < digit_version('2.6'):
        yield
        return
    allow_mmengine_checkpoints()
    before = {name: os.environ.pop(name, None) for name in _FORCE}
    os.environ[_FORCE[0]] = '1'
    try:
        yield
    finally:
        del os.environ[_FORCE[0]]
        os.environ.update({n: v for n, v in before.items() if v is not None})
        allow_mmengine_checkpoints()  # see ``load``


def load_others(file: Any, **options: Any) -> Any:
    """As ``load`` with weights_only, for files of other trainers than mmengine.

    Before torch 2.6, which cannot be told what a name stands for, they are
    refused as by torch itself.

    Args:
        file: See ``load``.
        options: Of ``torch.load``.
    """
    options['weights_only'] = True
    if digit_version(torch.__version__) < digit_version('2.6'):
        return load(file, **options)
    with torch.serialization.safe_globals(_OF_COMMAND_LINES):
        return load(file, **options)
