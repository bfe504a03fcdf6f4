"""What is found in a data set."""

from enum import Enum
from pathlib import Path
from typing import NamedTuple

__all__ = ['Finding', 'Level', 'Picture']


class Level(str, Enum):
    """How much a finding matters."""

    ERROR = 'ERROR'  # training refuses the data, or its figures would be wrong
    WARNING = 'warning'  # something is lost without a word
    NOTE = 'note'  # good to know


class Picture(NamedTuple):
    """An image that shows a finding.

    Attributes:
        path: Of the image.
        boxes: [x, y, width, height] in its pixels.
        caption: Below the picture.
    """

    path: Path
    boxes: tuple[tuple[float, ...], ...] = ()
    caption: str = ''


class Finding(NamedTuple):
    """One thing that was found.

    Attributes:
        level: How much it matters.
        where: Names of the splits.
        text: What, with its count.
        remedy: What to do, as a sentence; empty where nothing is.
        pictures: That show it.
    """

    level: Level
    where: str
    text: str
    remedy: str = ''
    pictures: tuple[Picture, ...] = ()
