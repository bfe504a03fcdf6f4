"""Hooks of mmengine's runner; each calls one tested thing."""
from .checkpoint import WholeCheckpointHook
from .iteration_seed import IterationSeedHook
from .val_loss import ValLossHook

__all__ = ['IterationSeedHook', 'ValLossHook', 'WholeCheckpointHook']
