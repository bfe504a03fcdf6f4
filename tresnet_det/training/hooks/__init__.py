"""Hooks of mmengine's runner; importing them registers them."""

from .checkpoint import WholeCheckpointHook
from .class_count import ClassCountHook
from .iteration_seed import IterationSeedHook
from .nonfinite import NonFiniteError, StopOnNonFiniteHook
from .progress_page import ProgressPage
from .skipped_images import SkippedImagesHook
from .val_loss import ValLossHook

__all__ = [
    'ClassCountHook',
    'IterationSeedHook',
    'NonFiniteError',
    'ProgressPage',
    'SkippedImagesHook',
    'StopOnNonFiniteHook',
    'ValLossHook',
    'WholeCheckpointHook',
]
