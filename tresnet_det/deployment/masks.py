"""Masks as COCO encodes them, and how far two of them overlap."""

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

__all__ = ['encoded', 'overlap']


def encoded(masks: np.ndarray) -> list[dict[str, Any]]:
    """Of bool masks (n, H, W)."""
    return [
        coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks
    ]


def overlap(one: dict, others: list[dict], used: np.ndarray) -> np.ndarray:
    """Intersection over union of a mask with those that are used; 1 if both are
    empty."""
    chosen = [mask for mask, use in zip(others, used) if use]
    if not chosen:
        return np.zeros(0)
    iou = coco_mask.iou([one], chosen, [0] * len(chosen))[0]
    if coco_mask.area(one) == 0:
        return (coco_mask.area(chosen) == 0).astype(float)
    return iou
