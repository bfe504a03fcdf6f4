"""What a reader finds in a source, whatever its format."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ['Box', 'Found', 'Picture', 'around_turned']


class Box(NamedTuple):
    """An object.

    Attributes:
        label: Name of its class.
        bbox: [x, y, width, height], in pixels or fractions.
        fields: Others of a COCO annotation: iscrowd, segmentation ...
    """

    label: str
    bbox: list[float]
    fields: dict[str, Any] = {}


@dataclass(eq=False)
class Picture:
    """An image and its objects.

    Attributes:
        file: Where it lies.
        boxes: Its objects.
        size: (width, height) that the annotations state, if they do.
        split: 'train', 'val', 'test', or '' where none is stated.
        fractions: The boxes are fractions of the picture as it is seen.
    """

    file: Path
    boxes: list[Box]
    size: tuple[int, int] | None = None
    split: str = ''
    fractions: bool = False


@dataclass
class Found:
    """The content of a source.

    Attributes:
        form: Name of its format.
        classes: In the order that gives labels.
        pictures: In the order of the annotations.
        changes: What was mended or left out, in words, and how often.
        lost: Annotations whose image is not there, in words.
        doubts: Some names lead to images in other folders.
        hint: What to say where images are missing.
        leaks: Images that look alike in two splits, in words.
    """

    form: str
    classes: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    doubts: bool = False
    hint: str = ''
    leaks: list[str] = field(default_factory=list)

    def count(self, done: Iterable[str]) -> None:
        """Adds what `mend_annotations` says that it did."""
        for line in done:
            number, _, what = line.partition(' ')
            self.changes[what] += int(number)

    def join(self, key: Callable[[Picture], Any]) -> None:
        """Makes one of the pictures of one key, with the boxes of all."""
        kept: dict[Any, Picture] = {}
        for picture in self.pictures:
            first = kept.setdefault(key(picture), picture)
            if first is not picture:
                more = [box for box in picture.boxes if box not in first.boxes]
                first.boxes = first.boxes + more
        what = 'images stood there twice: their boxes are together'
        self.changes[what] += len(self.pictures) - len(kept)
        self.pictures = list(kept.values())

    def count_unused(self, images: Iterable[Path], why: str) -> None:
        """Adds the images that no picture has.

        Args:
            images: Of the source.
            why: They are left out, 'are in no task' say.
        """
        used = {picture.file for picture in self.pictures}
        self.changes[f'images {why} and were left out'] = len({*images} - used)


def around_turned(box: list[float], degrees: float) -> list[float]:
    """The upright box around one that is turned about its centre.

    Args:
        box: [x, y, width, height] before it is turned, in pixels.
        degrees: Of the turn.
    """
    x, y, w, h = box
    cos, sin = (abs(f(math.radians(degrees))) for f in (math.cos, math.sin))
    wide, high = w * cos + h * sin, w * sin + h * cos
    return [x + (w - wide) / 2, y + (h - high) / 2, wide, high]
