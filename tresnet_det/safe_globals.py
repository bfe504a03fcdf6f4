"""Lets torch.load read what mmengine writes, with weights_only on.

From torch 2.6 on, torch.load refuses classes that it does not know.  The
checkpoints of mmengine hold, beside tensors, its message hub's log values
(HistoryBuffer) and NumPy scalars; resuming and testing would fail on them.
The classes listed here only hold data: reading them runs no code of a file.
"""
from typing import Any, List

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer

__all__ = ['allow_mmengine_checkpoints']


def allow_mmengine_checkpoints() -> None:
    """Put the classes in mmengine's checkpoints on torch's allow-list."""
    if not hasattr(torch.serialization, 'add_safe_globals'):
        return  # before torch 2.4 there is no list, and no refusal either
    try:
        from numpy._core import multiarray  # NumPy 2
    except ImportError:
        from numpy.core import multiarray
    classes: List[Any] = [
        HistoryBuffer, multiarray._reconstruct, multiarray.scalar, np.ndarray,
        np.dtype
    ]
    # Since NumPy 1.25 every dtype has a class of its own.
    classes += {type(np.dtype(code)) for code in '?bBhHiIlLqQefdg'}
    torch.serialization.add_safe_globals(classes)
