"""The boxes of a set as arrays: a million of them are looked at in a second."""

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

__all__ = ['LEFT_OUT', 'BoxTable', 'box_table']

# Why MMDetection leaves a box out of training, without a word.
LEFT_OUT = (
    'marked by "ignore"',
    'smaller than a pixel',
    'of area 0',
    'outside their image',
)
OUTSIDE = LEFT_OUT.index('outside their image')


class BoxTable(NamedTuple):
    """A row for each annotation.

    Attributes:
        ids: Of the annotations.
        boxes: (N, 4) [x, y, width, height] in pixels.
        areas: (N,) in square pixels.
        sizes: (N, 2) width and height of each box's image.
        images: (N,) places of the boxes' images in the file.
        labels: (N,) places of their categories in the file.
        crowds: (N,) marked by "iscrowd".
        ignored: (N,) marked by "ignore".
    """

    ids: list
    boxes: np.ndarray
    areas: np.ndarray
    sizes: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    crowds: np.ndarray
    ignored: np.ndarray

    def reasons(self) -> np.ndarray:
        """(N,) places in ``LEFT_OUT``; -1 of what training uses."""
        x, y, w, h = self.boxes.T
        width, height = self.sizes.T
        inside = (x < width) & (y < height) & (x + w > 0) & (y + h > 0)
        return np.select(
            [self.ignored, (w < 1) | (h < 1), self.areas <= 0, ~inside],
            range(len(LEFT_OUT)),
            -1,
        )

    def used(self) -> np.ndarray:
        """Places of the annotations that are objects to train on."""
        return np.flatnonzero((self.reasons() < 0) & ~self.crowds)

    def leaving(self) -> np.ndarray:
        """(N,) whether a box leaves its image by more than a pixel on any side."""
        x, y, _, _ = self.boxes.T
        return (x < -1) | (y < -1) | self.beyond()

    def beyond(self) -> np.ndarray:
        """(N,) likewise, on the right or below."""
        x, y, w, h = self.boxes.T
        width, height = self.sizes.T
        return (x + w > width + 1) | (y + h > height + 1)

    def copies(self) -> np.ndarray:
        """Places of those that repeat an earlier one: image, category, box, crowd."""
        columns = [*self.boxes.T, self.images, self.labels, self.crowds]
        key = np.zeros(len(self.ids))
        for column in columns:  # equal rows have equal keys, others hardly ever
            key = key * np.e + column
        _, which, counts = np.unique(key, return_inverse=True, return_counts=True)
        known, copies = set(), []
        for place in np.flatnonzero(counts[which] > 1).tolist():
            row = tuple(float(column[place]) for column in columns)
            if row in known:
                copies.append(place)
            known.add(row)
        return np.array(copies, int)

    def names(self, places: np.ndarray) -> list[str]:
        """Ids as text."""
        return [str(self.ids[place]) for place in places.tolist()]


def box_table(content: Mapping[str, Any]) -> BoxTable:
    """Reads the annotations.

    Args:
        content: COCO annotations, each field of the right type.
    """
    entries: Sequence[Mapping] = content.get('annotations') or []
    count = len(entries)

    def column(field: str) -> Any:
        return map(itemgetter(field), entries)

    def places(field: str, part: str) -> np.ndarray:
        place = {entry['id']: place for place, entry in enumerate(content[part])}
        return np.fromiter(map(place.__getitem__, column(field)), int, count)

    def marks(field: str) -> np.ndarray:
        return np.fromiter((bool(e.get(field)) for e in entries), bool, count)

    sizes = [(image['width'], image['height']) for image in content['images']]
    images = places('image_id', 'images')
    return BoxTable(
        [*column('id')],
        np.fromiter(chain.from_iterable(column('bbox')), float, 4 * count).reshape(
            -1, 4
        ),
        np.fromiter(column('area'), float, count),
        np.array(sizes, float).reshape(-1, 2)[images],
        images,
        places('category_id', 'categories'),
        marks('iscrowd'),
        marks('ignore'),
    )
