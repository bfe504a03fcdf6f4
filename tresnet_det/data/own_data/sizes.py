"""The size of an image as MMDetection reads it: turned as its EXIF says."""

import io
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from ...common.errors import UserError

__all__ = ['orientation_and_size', 'seen_size']


def orientation_and_size(file: Path) -> tuple[int, tuple[int, int]]:
    """EXIF's orientation (1 to 8), as OpenCV heeds it, and (width, height) as stored.

    Raises:
        UserError: It is no image, or none that OpenCV reads.
    """
    try:
        with Image.open(file) as image:
            if image.mode in ('F', 'I') and image.format == 'TIFF':
                raise ValueError('32-bit numbers have no fixed black and white')
            tags = _tags(image)
            turned, size = tags.get(Base.Orientation, 1), image.size
            if image.format == 'TIFF':  # some versions of Pillow turn the size
                size = tags[Base.ImageWidth], tags[Base.ImageLength]
            return (turned if turned in range(1, 9) else 1), size
    except (OSError, ValueError, KeyError, SyntaxError) as error:
        raise UserError(f'{file} is no image that can be read ({error})') from error


def _tags(image: Image.Image) -> Any:
    """Those that OpenCV heeds too: Pillow takes an orientation from XMP as well."""
    if image.format == 'TIFF':
        return image.tag_v2  # type: ignore[attr-defined]
    exif, content = Image.Exif(), image.info.get('exif', b'')
    if image.format == 'WEBP' and (
        # The mark is for JPEG. Pillow skips it, OpenCV then reads nothing.
        content.startswith(b'Exif\0\0') or not _opencv_turns_webp()
    ):
        return exif
    exif.load(content)
    return exif


@cache
def _opencv_turns_webp() -> bool:
    """OpenCV 5.0 does, 4.11 leaves the image as it is stored: asked of itself."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[Base.Orientation] = 6
    Image.new('RGB', (1, 2)).save(file, 'WEBP', exif=exif)
    image = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    return image is not None and image.shape[:2] == (1, 2)


def seen_size(file: Path) -> tuple[int, int]:
    """(width, height) as it is seen, which OpenCV and MMDetection read too."""
    turned, size = orientation_and_size(file)
    return size[::-1] if turned >= 5 else size
