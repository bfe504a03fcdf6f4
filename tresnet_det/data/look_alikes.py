"""Images that look alike: copies, frames of a film.

Their perceptual hashes (imagehash's phash: the signs of the lowest 8 x 8 cosine
terms of a 32 x 32 grey copy) differ in a few of 64 bits.
"""

import os
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

__all__ = ['NEAR', 'groups_of', 'look']

NEAR = 4  # bits of 64: copies in another size or quality differ by 0 to 4


def look(
    files: Iterable[str | os.PathLike], progress: Callable[[], None] = lambda: None
) -> np.ndarray:
    """(N,) uint64: the hash of each image.

    Args:
        files: The images.
        progress: Called after each.

    Raises:
        OSError: One cannot be read.
    """
    import imagehash
    from PIL import Image

    hashes = []
    for file in files:
        with Image.open(file) as image:
            image.draft('L', (64, 64))  # JPEG: decodes at an eighth of the size
            bits = imagehash.phash(image).hash
        hashes.append(np.packbits(bits.ravel()).view('>u8')[0])
        progress()
    return np.asarray(hashes, dtype=np.uint64)


def groups_of(
    hashes: np.ndarray, near: int = NEAR, keys: Sequence[Hashable] | None = None
) -> list[list[int]]:
    """Images that look alike, or like another of their group.

    Args:
        hashes: (N,) uint64, see ``look``.
        near: Bits that may differ.
        keys: Images of one key belong together whatever they look like.

    Returns:
        The places of each group's images; groups of one too.
    """
    unique, inverse = np.unique(hashes, return_inverse=True)
    parent = list(range(len(unique)))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for one in range(len(unique) - 1):
        bits = (unique[one + 1 :] ^ unique[one]).view(np.uint8).reshape(-1, 8)
        for other in np.flatnonzero(np.unpackbits(bits, axis=1).sum(axis=1) <= near):
            parent[root(one + 1 + int(other))] = root(one)
    first: dict[Hashable, int] = {}
    for key, one in zip(keys or (), inverse.tolist()):
        parent[root(one)] = root(first.setdefault(key, one))
    groups: dict[int, list[int]] = {}
    for place, one in enumerate(inverse.tolist()):
        groups.setdefault(root(one), []).append(place)
    return list(groups.values())
