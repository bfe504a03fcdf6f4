"""Train and val: as found, or drawn from a seed, look-alikes kept together."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...common.errors import UserError, some
from ..checking.images import ImageFacts, read_images
from ..checking.same_images import leak, pairs_by_split, same_images
from .found import Found, Picture
from .libraries import imagehash

__all__ = ['set_splits']


def set_splits(
    found: Found,
    val_share: float,
    seed: int,
    anew: bool = False,
    alike: bool = False,
    progress: Callable[[int], Callable[[], None]] = lambda count: lambda: None,
) -> str:
    """Gives each picture a split.

    Args:
        found: Of a source; the pictures' splits are changed.
        val_share: Share of the images that go to val where it is drawn.
        seed: Of the drawing.
        anew: Pass over the splits of the source.
        alike: Images that look alike need not stay together.
        progress: Called with the number of images to look at; what it returns
            is called after each.

    Returns:
        What was done, in words.

    Raises:
        UserError: An image is in two splits, or the images cannot be divided.
    """
    counts = Counter(picture.split for picture in found.pictures)
    if not anew and counts['train'] and (counts['val'] or counts['test']):
        _refuse_in_two(found.pictures)
        if counts['']:
            raise UserError(
                f'{counts[""]} images are in no split, the others are ('
                + ', '.join(f'{s}: {n}' for s, n in counts.items() if s)
                + '). Add --resplit for new splits of all'
            )
        told = 'the splits of the source'
        if not counts['val']:
            told = "the source's train, and its test as val"
            for picture in found.pictures:
                picture.split = 'val' if picture.split == 'test' else 'train'
        if not alike:
            found.leaks = _leaks(found.pictures, progress(len(found.pictures)))
        return told
    found.join(lambda picture: picture.file)
    _draw(found.pictures, val_share, seed, alike, progress)
    return f'drawn from seed {seed}' + (
        '' if alike else ', images that look alike kept together'
    )


def _refuse_in_two(pictures: list[Picture]) -> None:
    splits: dict[Path, str] = {}
    twice = []
    for picture in pictures:
        if splits.setdefault(picture.file, picture.split) != picture.split:
            twice.append(picture.file.name)
    if twice:
        raise UserError(
            f'{len(twice)} images are in two splits ({some(twice)}): the figures of '
            'val would be too good. Mend the lists, or add --resplit for new splits'
        )


def _draw(
    pictures: list[Picture],
    share: float,
    seed: int,
    alike: bool,
    progress: Callable[[int], Callable[[], None]],
) -> None:
    pictures = sorted(pictures, key=lambda p: str(p.file))
    wanted = min(max(round(share * len(pictures)), 1), len(pictures) - 1)
    if len(pictures) < 2:
        raise UserError(f'{len(pictures)} images are too few for train and val')
    groups = (
        [[n] for n in range(len(pictures))]
        if alike
        else _groups(pictures, progress(len(pictures)))
    )
    random.Random(seed).shuffle(groups)
    val: set[int] = set()
    for group in groups:
        if len(val) + len(group) <= wanted:
            val.update(group)
    if not val:
        largest = max(map(len, groups))
        raise UserError(
            f'{len(pictures)} images fall into {len(groups)} groups that look alike, '
            f'one of {largest}: none is small enough for {wanted} val images, and to '
            'divide one would show in val what train has seen. Take val images of '
            'another day or place, or a larger --val-share; --alike divides all the '
            'same'
        )
    for place, picture in enumerate(pictures):
        picture.split = 'val' if place in val else 'train'


def _leaks(pictures: list[Picture], progress: Callable[[], object]) -> list[str]:
    """Look-alikes in two splits, as check_data.py tells them."""
    splits = [picture.split for picture in pictures]
    groups = pairs_by_split(_facts(pictures, progress), splits)
    return [
        leak(
            first,
            second,
            what,
            [f'{pictures[a].file.name} = {pictures[b].file.name}' for a, b in pairs],
        )
        for (first, second, what), pairs in groups.items()
        if first != second
    ]


def _facts(pictures: list[Picture], progress: Callable[[], object]) -> list[ImageFacts]:
    images = (dict(file_name=str(p.file), **_sides(p)) for p in pictures)
    facts = read_images(images, Path(), progress)
    return [facts[str(picture.file)] for picture in pictures]


def _groups(pictures: list[Picture], progress: Callable[[], None]) -> list[list[int]]:
    """Places of images that check_data.py calls the same or nearly so."""
    imagehash()  # or it says what to install
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    exact, near = same_images(_facts(pictures, progress))
    first: dict[str, int] = {}
    pairs = [*exact, *near] + [
        (first.setdefault(_source(picture.file), place), place)
        for place, picture in enumerate(pictures)
    ]
    links = coo_array(
        (np.ones(len(pairs)), tuple(zip(*pairs))), shape=(len(pictures),) * 2
    )
    groups: dict[int, list[int]] = {}
    for place, group in enumerate(connected_components(links)[1].tolist()):
        groups.setdefault(group, []).append(place)
    return list(groups.values())


def _sides(picture: Picture) -> dict[str, int]:
    assert picture.size is not None
    return dict(zip(('width', 'height'), picture.size))


def _source(file: Path) -> str:
    """Roboflow names augmented copies of one image NAME.rf.NUMBER."""
    stem, mark, _ = file.name.partition('.rf.')
    return stem if mark else str(file)
