"""Hooks for mmengine's Runner, each usable in any config by one line."""
from .val_loss import ValLossHook

__all__ = ['ValLossHook']
