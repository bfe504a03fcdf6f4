"""Masks in COCO's compressed form, without pycocotools.

Runs of pixels column by column, zeros first; from the fourth on each run is
told as its difference to the one before the last, in digits of 5 bits, the
lowest first (`rleToString` of cocoapi's maskApi.c).
"""

from typing import Any

import numpy as np

__all__ = ['coco_rle']


def coco_rle(mask: np.ndarray) -> dict[str, Any]:
    """The 'segmentation' of a bool mask (H, W) in a COCO results file."""
    pixels = np.concatenate([[False], mask.ravel(order='F'), [not mask[-1, -1]]])
    ends = np.flatnonzero(pixels[1:] != pixels[:-1])
    runs = np.diff(ends, prepend=0).tolist()
    told = bytearray()
    for i, run in enumerate(runs):
        rest, more = run - runs[i - 2] if i > 2 else run, True
        while more:
            digit, rest = rest & 31, rest >> 5
            more = rest != (-1 if digit & 16 else 0)
            told.append((digit | 32 if more else digit) + 48)
    return dict(size=[*mask.shape], counts=told.decode())
