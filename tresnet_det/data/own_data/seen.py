"""Boxes in pixels of the image as it is seen.

MMDetection reads images with OpenCV, which turns them as their EXIF says; so do
the tools in which boxes are drawn. Boxes are therefore taken to be on the image
as it is seen. Where the size that the annotations state says otherwise, the
person is asked.
"""

from collections.abc import Callable

from ...common.errors import UserError, some
from ..image_reading import is_cut_short
from .found import Box, Found, Picture
from .sizes import orientation_and_size

__all__ = ['BOXES_ON', 'as_seen', 'turned_box']

BOXES_ON = ('seen', 'stated')
_MOVED = ('area', 'segmentation')  # of a box that is moved, no longer right
Size = tuple[int, int]


def as_seen(
    found: Found, boxes_on: str | None = None, skip_broken: bool = False
) -> None:
    """Gives each picture its true size and its boxes in pixels of it.

    Args:
        found: Of a source; changed. Each image stands there once afterwards.
        boxes_on: Where the stated size is not that of the image: 'seen' takes
            boxes for pixels of the image as it is seen, 'stated' for pixels
            of the stated size.
        skip_broken: Leave out what is missing or cannot be read.

    Raises:
        UserError: Images are missing, unreadable, or of another size.
    """
    broken, others, kept = list(found.lost), [], []
    mirrored: list[tuple[Picture, int, Size]] = []  # or upside down, or square
    stored_meant = False
    for picture in found.pictures:
        try:
            turned, stored = orientation_and_size(picture.file)
        except UserError as error:
            broken.append(str(error))
            continue
        if is_cut_short(picture.file):  # training would stop at it
            broken.append(f'{picture.file} is cut short')
            continue
        kept.append(picture)
        seen = stored[::-1] if turned >= 5 else stored
        stated = picture.size or seen
        picture.size = seen
        found.changes[
            'images are turned by EXIF; boxes are on them as they are seen'
        ] += turned != 1
        if picture.fractions:
            _scale(picture, (1, 1), seen)
        elif not _like(stated, seen):
            others.append(f'{picture.file} is {_by(seen)}, stated {_by(stated)}')
            if boxes_on == 'stated' and turned >= 5 and _like(stated, stored):
                _turn(picture, turned, stored)
                stored_meant = True
            elif boxes_on == 'stated':
                _scale(picture, stated, seen)
        elif boxes_on == 'stated' and turned != 1:
            mirrored.append((picture, turned, stored))
    for picture, turned, stored in mirrored if stored_meant else ():
        # The tool that made the others does not heed EXIF here either.
        _turn(picture, turned, stored)
        found.changes['boxes are turned as EXIF says, as in the other images'] += 1
    if broken and not skip_broken:
        raise UserError(
            f'{len(broken)} images are missing or cannot be read: {some(broken)}. '
            'Name the folder of the images with --images, or leave these out with '
            '--skip-broken' + found.hint
        )
    if others and boxes_on is None:
        raise UserError(
            f'{len(others)} images have another size than the annotations state: '
            f'{some(others)}. Which do the boxes refer to? Add --boxes-on stated (they '
            'are then scaled, or turned as EXIF says) or --boxes-on seen'
        )
    found.changes['images are missing or unreadable and were left out'] += len(broken)
    found.changes[f'images have another size than stated: boxes are as {boxes_on}'] += (
        len(others)
    )
    found.pictures = kept
    found.join(lambda picture: (picture.file, picture.split))


def _by(size: Size) -> str:
    return f'{size[0]} x {size[1]}'


def _like(one: Size, other: Size) -> bool:
    return all(abs(a - b) <= 1 for a, b in zip(one, other))


def _scale(picture: Picture, size: Size, seen: Size) -> None:
    factors = [b / a for a, b in zip(size, seen)] * 2
    _replace(picture, lambda box: [v * f for v, f in zip(box, factors)])


def _turn(picture: Picture, turned: int, stored: Size) -> None:
    _replace(picture, lambda box: turned_box(box, turned, stored))


def _replace(picture: Picture, move: Callable[[list[float]], list[float]]) -> None:
    picture.boxes = [
        Box(
            box.label,
            move(box.bbox),
            {k: v for k, v in box.fields.items() if k not in _MOVED},
        )
        for box in picture.boxes
    ]


def turned_box(box: list[float], orientation: int, stored: Size) -> list[float]:
    """A box on the stored image, as it is on the image that is seen.

    Args:
        box: [x, y, width, height] in pixels.
        orientation: EXIF's, 1 to 8.
        stored: (width, height) without it.
    """
    x, y, w, h = box
    wide, high = stored
    if orientation in (2, 3, 7, 8):
        x = wide - x - w
    if orientation in (3, 4, 6, 7):
        y = high - y - h
    return [y, x, h, w] if orientation >= 5 else [x, y, w, h]
