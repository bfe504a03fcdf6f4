"""Thumbnails with boxes, as data URIs."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ...common.errors import UserError
from ...common.html_pictures import jpeg_uri
from ..image_reading import decoded

__all__ = ['around', 'thumbnail']

SIDE = 240  # pixels, of a thumbnail
ORANGE, BLACK = (0, 140, 255), (0, 0, 0)  # BGR


def thumbnail(path: Path, boxes: Sequence[Sequence[float]] = ()) -> str | None:
    """A whole image with boxes.

    Args:
        path: Of the image.
        boxes: [x, y, width, height] in its pixels.

    Returns:
        None where it cannot be read.
    """
    image = _read(path)
    return None if image is None else _encoded(image, boxes)


def around(path: Path, box: Sequence[float]) -> str | None:
    """A box and as much around it.

    Args:
        path: Of the image.
        box: [x, y, width, height] in its pixels.

    Returns:
        None where the image cannot be read or the box is not in it.
    """
    image = _read(path)
    if image is None:
        return None
    height, width = image.shape[:2]
    x, y, w, h = box
    side = max(2 * max(w, h), 24)
    left, top = (int(max(0, c - side / 2)) for c in (x + w / 2, y + h / 2))
    part = image[
        top : min(height, int(top + side)), left : min(width, int(left + side))
    ]
    if not part.size:
        return None
    return _encoded(part, [(x - left, y - top, w, h)])


def _read(path: Path) -> np.ndarray | None:
    try:
        return decoded(path.read_bytes())
    except (OSError, UserError):
        return None


def _encoded(image: np.ndarray, boxes: Sequence[Sequence[float]]) -> str:
    factor = SIDE / max(image.shape[:2])
    size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    small = cv2.resize(image, size, interpolation=way)
    for x, y, w, h in boxes:
        left, top = round(x * factor), round(y * factor)
        right, bottom = round((x + w) * factor), round((y + h) * factor)
        # Two colours: one of them is seen on any ground.
        cv2.rectangle(small, (left, top), (right, bottom), BLACK, 4)
        cv2.rectangle(small, (left, top), (right, bottom), ORANGE, 2)
    return jpeg_uri(small)
