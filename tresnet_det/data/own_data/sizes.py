"""The size of an image as MMDetection reads it: turned as its EXIF says."""

from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base

from ...common.errors import UserError

__all__ = ['orientation_and_size', 'seen_size']


def orientation_and_size(file: Path) -> tuple[int, tuple[int, int]]:
    """EXIF's orientation (1 to 8) and (width, height) as stored.

    Raises:
        UserError: It is no image.
    """
    try:
        with Image.open(file) as image:
            turned = image.getexif().get(Base.Orientation, 1)
            return (turned if turned in range(1, 9) else 1), image.size
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise UserError(f'{file} is no image that can be read ({error})') from error


def seen_size(file: Path) -> tuple[int, int]:
    """(width, height) as it is seen, which OpenCV and MMDetection read too."""
    turned, size = orientation_and_size(file)
    return size[::-1] if turned >= 5 else size
