"""Distillation through shared heads (arXiv:2201.06945)."""

from .classifier import HeadSharingClassifier
from .detector import HeadSharing
from .hook import DistillationHook
from .shared_head import SharedHead

__all__ = ['DistillationHook', 'HeadSharing', 'HeadSharingClassifier', 'SharedHead']
