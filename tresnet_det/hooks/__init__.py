"""Hooks of mmengine's runner; importing them registers them."""
from .checkpoint import WholeCheckpointHook
from .iteration_seed import IterationSeedHook
from .nonfinite import NonFiniteError, StopOnNonFiniteHook
from .val_loss import ValLossHook

__all__ = ['IterationSeedHook', 'NonFiniteError', 'StopOnNonFiniteHook',
           'ValLossHook', 'WholeCheckpointHook']
