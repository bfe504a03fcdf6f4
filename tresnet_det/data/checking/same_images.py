"""Which images are the same, or nearly so."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ...common.errors import some
from .images import ImageFacts

__all__ = ['Pair', 'leak', 'pairs_by_split', 'same_images']

Pair = tuple[int, int]

BITS, DISTANCE = 64, 6  # of the perceptual hash: bits that may differ
ALIKE = 0.97  # correlation of the thumbnails


def same_images(facts: Sequence[ImageFacts]) -> tuple[list[Pair], list[Pair]]:
    """Pairs of places of images: the same file, and pictures that look the same.

    Args:
        facts: Of images; those that cannot be decoded are like none.

    Returns:
        Both without a pair twice; the second without pairs of the first.
    """
    by_digest = defaultdict(list)
    for place, one in enumerate(facts):
        if one.thumbnail is not None:
            by_digest[one.digest].append(place)
    exact = [(same[0], other) for same in by_digest.values() for other in same[1:]]
    firsts = [same[0] for same in by_digest.values()]
    near = [pair for pair in sorted(_candidates(facts, firsts)) if _alike(facts, pair)]
    return exact, near


def pairs_by_split(
    facts: Sequence[ImageFacts], splits: Sequence[str]
) -> dict[tuple[str, str, str], list[Pair]]:
    """Pairs of images, sorted by the splits of the two and how they are alike.

    Args:
        facts: Of images.
        splits: Name of each one's.

    Returns:
        (one split, another, 'the same file' or 'nearly the same') -> pairs.
    """
    exact, near = same_images(facts)
    groups = defaultdict(list)
    for pairs, what in ((exact, 'the same file'), (near, 'nearly the same')):
        for one, two in pairs:
            groups[splits[one], splits[two], what].append((one, two))
    return dict(groups)


def leak(first: str, second: str, what: str, names: Sequence[str]) -> str:
    """What is said of look-alikes in two splits.

    Args:
        first: Name of a split.
        second: Of another.
        what: See ``pairs_by_split``.
        names: Of the two images, for each pair.
    """
    return (
        f'LEAK: {len(names)} images of {second} are {what} as images of {first} '
        f'({some(names)})'
    )


def _candidates(facts: Sequence[ImageFacts], places: Sequence[int]) -> set[Pair]:
    """Pairs whose hashes differ in few bits.

    With d differing bits, one of d + 1 parts of the hash is the same: only
    images that share a part are compared.
    """
    hashes = {place: facts[place].hash for place in places if facts[place].hash}
    found = set()
    for start, width in _parts():
        shared: Mapping[int, list[int]] = defaultdict(list)
        for place, value in hashes.items():
            shared[value >> start & ((1 << width) - 1)].append(place)
        for same in shared.values():
            values = np.array([hashes[place] for place in same], dtype=np.uint64)
            for number in range(len(same) - 1):
                differ = np.bitwise_xor(values[number + 1 :], values[number])
                bits = np.unpackbits(differ.view(np.uint8).reshape(-1, 8), axis=1)
                for other in np.flatnonzero(bits.sum(1) <= DISTANCE):
                    found.add((same[number], same[number + 1 + int(other)]))
    return found


def _parts() -> Iterator[tuple[int, int]]:
    ends = [BITS * part // (DISTANCE + 1) for part in range(DISTANCE + 2)]
    for start, end in zip(ends, ends[1:]):
        yield start, end - start


def _alike(facts: Sequence[ImageFacts], pair: Pair) -> bool:
    """The hash sees coarse shapes alone: the thumbnails must agree too."""
    one, two = (np.asarray(facts[place].thumbnail, dtype=float) for place in pair)
    one, two = one - one.mean(), two - two.mean()
    norm = np.sqrt((one**2).sum() * (two**2).sum())
    return bool(norm > 0 and (one * two).sum() / norm >= ALIKE)
