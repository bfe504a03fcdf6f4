"""Tells when torch's own operators are wanted in place of ours."""

import torch

try:
    from torch.compiler import is_compiling
except ImportError:  # torch 2.1 and 2.2
    from torch._utils import is_compiling

__all__ = ['torch_operators_wanted']


def torch_operators_wanted() -> bool:
    """True under a compiler and in a trace.

    A compiler differentiates by itself and decides what to keep and what to
    compute again; a trace is read by tools that count or export operators.
    """
    return is_compiling() or torch.jit.is_tracing()
