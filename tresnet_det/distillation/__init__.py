"""Distillation through shared heads (arXiv:2201.06945)."""

from .detector import HeadSharing
from .hook import DistillationHook

__all__ = ['DistillationHook', 'HeadSharing']
