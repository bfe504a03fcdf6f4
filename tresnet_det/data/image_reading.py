"""Decoding images with errors that tell."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from PIL import Image

from ..common.errors import UserError

__all__ = ['check_size', 'decoded', 'is_cut_short']


def decoded(
    content: bytes, color_type: str = 'color', backend: str | None = 'cv2'
) -> np.ndarray:
    """A whole image, by default 8-bit BGR of shape (H, W, 3), turned by its EXIF.

    Args:
        content: Of the file.
        color_type: MMCV's.
        backend: MMCV's.

    Raises:
        UserError: Why there is none; the message goes on after "the image".
    """
    if not content:
        raise UserError('is empty (0 bytes)')
    if not _is_whole(content):
        raise UserError('is cut short')
    try:
        image = mmcv.imfrombytes(content, flag=color_type, backend=backend)
    except Exception:  # each backend has errors of its own
        image = None
    if image is None:
        raise UserError(f'cannot be decoded: {_why_undecoded(content)}')
    return image


def check_size(image: np.ndarray, said: Mapping[str, Any]) -> None:
    """Compares the size of an image with the annotations.

    Args:
        image: Of shape (H, W, ...).
        said: With 'width' and 'height', if these are known.

    Raises:
        UserError: They differ; the message goes on after "the image".
    """
    height, width = image.shape[:2]
    size = said.get('width', width), said.get('height', height)
    if size != (width, height):
        turned = (
            ' (turned as its EXIF orientation says)' if size == (height, width) else ''
        )
        raise UserError(
            f'is {width} x {height} pixels{turned}, but the annotations '
            f'say {size[0]} x {size[1]}'
        )


def _why_undecoded(content: bytes) -> str:
    try:
        with Image.open(io.BytesIO(content)) as image:
            kind, mode = image.format, image.mode
    except Exception:  # each format has errors of its own
        return f'it begins with {content[:8]!r} and is damaged or no image'
    if mode in ('F', 'I'):
        numbers = {'F': 'floating-point', 'I': 'whole'}[mode]
        return (
            f'it is {kind} with 32-bit {numbers} numbers, which have no fixed '
            'black and white; choose them and save 8 or 16 bits, as by '
            "cv2.imwrite('a.png', np.clip((a - low) / (high - low) * 255, 0, "
            '255).astype(np.uint8))'
        )
    return (
        f'it is {kind} (mode {mode}), which OpenCV does not read here or which is '
        'damaged; if Pillow opens it, save it as PNG'
    )


def is_cut_short(file: Path) -> bool:
    """Whether a JPEG or PNG lacks its end; of most only the last bytes are read."""
    with open(file, 'rb') as stream:
        head = stream.read(8)
        stream.seek(max(stream.seek(0, os.SEEK_END) - 8, 0))
        if _ends(head, stream.read()):
            return False
    return not _is_whole(file.read_bytes())


def _ends(head: bytes, tail: bytes) -> bool:
    if head.startswith(b'\xff\xd8'):
        return tail.endswith(b'\xff\xd9')
    if head.startswith(b'\x89PNG'):
        return tail.endswith(b'IEND\xaeB`\x82')
    return True


def _is_whole(content: bytes) -> bool:
    """Whether a JPEG or PNG has its end; others fail in decoding."""
    # Something may follow the end: Pillow looks closely.
    if not _ends(content[:8], content[-8:]):
        try:
            Image.open(io.BytesIO(content)).load()
        except (OSError, SyntaxError):
            return False
    return True
