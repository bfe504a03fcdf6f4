"""Reads every image once and keeps what the checks need of it."""

import hashlib
import io
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from ...common.errors import UserError
from ..image_reading import check_size, decoded

__all__ = ['ImageFacts', 'orphans', 'read_images']

ENDINGS = {'.bmp', '.gif', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp'}
THUMBNAIL = 32  # pixels
# Pillow's modes that lose something as 8-bit colour.
ODD_MODES = {
    'CMYK': 'CMYK, colours of print',
    'P': 'with a palette',
    'PA': 'with a palette',
    'I;16': 'of 16 bits',
    'I;16B': 'of 16 bits',
    'I': 'of 32-bit whole numbers',
    'F': 'of floating-point numbers',
    'LA': 'with transparency, which is dropped',
    'RGBA': 'with transparency, which is dropped',
    '1': 'of black and white alone',
    'LAB': 'in Lab colours',
    'YCbCr': 'in YCbCr colours',
}


class ImageFacts(NamedTuple):
    """What is kept of an image.

    Attributes:
        problem: Why training refuses it; None if it does not.
        kind: What is odd about its mode, if anything.
        turned: Its EXIF says that it is to be turned or mirrored.
        digest: Of the file.
        hash: 64 bits that similar images share but for a few.
        thumbnail: (32, 32) grey levels.
    """

    problem: str | None
    kind: str | None = None
    turned: bool = False
    digest: bytes = b''
    hash: int = 0
    thumbnail: np.ndarray | None = None


def read_images(
    images: Iterable[Mapping[str, Any]],
    folder: Path,
    progress: Callable[[], object],
) -> dict[str, ImageFacts]:
    """Reads images on all cores.

    Args:
        images: Of the annotation file, those that are there.
        folder: Where they lie.
        progress: Called after each.

    Returns:
        File name -> what was found.
    """

    def one(image: Mapping[str, Any]) -> tuple[str, ImageFacts]:
        return image['file_name'], _facts(Path(folder, image['file_name']), image)

    facts = {}
    # Decoding runs outside Python's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, found in pool.map(one, images):
            facts[name] = found
            progress()
    return facts


def _facts(path: Path, said: Mapping[str, Any]) -> ImageFacts:
    try:
        content = path.read_bytes()
    except OSError as error:
        return ImageFacts(f'cannot be read: {error.strerror or error}')
    kind, turned = _header(content)
    try:
        image = decoded(content)
    except UserError as error:
        return ImageFacts(str(error), kind, turned)
    problem = None
    try:
        check_size(image, said)
    except UserError as error:
        problem = str(error)
    size = 4 * THUMBNAIL
    small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    return ImageFacts(
        problem,
        kind,
        turned,
        hashlib.sha256(content).digest(),
        _hash(grey),
        cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA),
    )


def _hash(grey: np.ndarray) -> int:
    try:
        import imagehash
    except ImportError:
        return 0
    return int(str(imagehash.phash(Image.fromarray(grey))), 16)


def _header(content: bytes) -> tuple[str | None, bool]:
    """What is odd about the mode, and whether EXIF turns the image."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            bits = image.tag_v2.get(258, (8,)) if hasattr(image, 'tag_v2') else (8,)
            kind = ODD_MODES.get(image.mode)
            if kind is None and max(bits) > 8:
                kind = f'of {max(bits)} bits'
            return kind, image.getexif().get(Base.Orientation, 1) not in (0, 1)
    except Exception:  # each format has errors of its own; decoding tells
        return None, False


def orphans(folder: Path, known: Collection[str]) -> list[str]:
    """Images below a folder that no annotation file names.

    Args:
        folder: Of images.
        known: File names, relative to it.
    """
    # By text: resolving each path takes longer than listing them.
    names = {os.path.normpath(name) for name in known}
    found = (
        os.path.relpath(os.path.join(root, file), folder)
        for root, _, files in os.walk(folder)
        for file in files
        if os.path.splitext(file)[1].lower() in ENDINGS
    )
    return sorted(name for name in found if name not in names)
