"""Which image each name in a source means.

All names of a source are matched together. Alone, a name whose image is lost
could take the image of the same name in another folder; together they show
that this folder belongs to others, and that two of them claim one file.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

from ...common.errors import UserError, some
from .found import Box, Found, Picture
from .tree import Tree, key, split_of

__all__ = ['Entry', 'Match', 'Name', 'matched', 'place']


class Name(NamedTuple):
    """An image as an annotation file names it.

    Attributes:
        text: As written: with folders or without, of another system, with
            another ending, or with none.
        beside: The annotation file.
        split: It is of; '' if unknown.
        other: What it may be called instead.
        own: The annotation file is of this image alone and named as it is,
            which counts where ``text`` leads nowhere.
        listed: It is in a list of a split, whatever its folder is called.
    """

    text: str
    beside: Path
    split: str = ''
    other: str = ''
    own: bool = False
    listed: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """Of the path, the last is the image itself."""
        parts = PurePosixPath(self.text.replace('\\', '/')).parts
        return tuple(key(p) for p in parts if p not in ('/', '.', '..'))


class Entry(NamedTuple):
    """What a reader finds of an image, see `Picture`."""

    name: Name
    boxes: list[Box]
    size: tuple[int, int] | None = None
    fractions: bool = False


def place(
    entries: Sequence[Entry],
    tree: Tree,
    found: Found,
    listed: Mapping[Path, set[str]] = {},
) -> None:
    """Finds the image of each entry; what has none is lost.

    Args:
        entries: All of the source.
        tree: The source.
        found: Gets a picture for each, in every split that it is listed in.
        listed: Splits of images by lists, which count more than folders.

    Raises:
        UserError: See `matched`.
    """
    matches = matched(tree, [entry.name for entry in entries])
    for (name, boxes, size, fractions), match in zip(entries, matches):
        file = match.file
        if file is None:
            found.lost.append(match.lost(tree, f'{name.text} of '))
            found.doubts |= match.doubted is not None
            continue
        last = PurePosixPath(name.text.replace('\\', '/')).name
        if Path(last).suffix and file.name not in (last, name.other):
            found.changes['images are there under another ending or spelling'] += 1
        splits = listed.get(file) or {name.split or tree.split_of(file.parent)}
        for split in sorted(splits):
            found.pictures.append(Picture(file, boxes, size, split, fractions))


class Match(NamedTuple):
    """What a name leads to.

    Attributes:
        name: It.
        file: The image; None if it is lost.
        doubted: One that is there, in another folder than the name says.
    """

    name: Name
    file: Path | None
    doubted: Path | None = None

    def lost(self, tree: Tree, words: str) -> str:
        """What is lost, for messages."""
        there = f' ({tree.relative(self.doubted)}?)' if self.doubted else ''
        return f'{words}{tree.relative(self.name.beside)}{there}'


def matched(tree: Tree, names: Sequence[Name]) -> list[Match]:
    """The image of each name, wherever it lies in the source.

    Of several images it is the one whose folders agree best with the name,
    then with the split, then with the annotation file's own folders. One in the
    folder of another split is none, unless the name leads into it. One in
    another folder than the name says is doubted where folders tell images
    apart. Of different names for one image the nearest gets it.

    Args:
        tree: The source.
        names: All that it has.

    Raises:
        UserError: Several images fit a name equally well, or several names an
            image; or a file's content and its own name lead to two images.
    """
    shared = _shared([name.parts[:-1] for name in names])
    files = [_image_of(tree, name, shared) for name in names]
    doubted = {} if tree.any_folder else _doubted(tree, names, files)
    files = [None if place in doubted else file for place, file in enumerate(files)]
    files = _one_to_one(tree, names, files)
    return [
        Match(name, file, doubted.get(place))
        for place, (name, file) in enumerate(zip(names, files))
    ]


def _shared(folders: Sequence[Sequence[str]]) -> int:
    """How many first folders all have: /home/dev divides nothing."""
    if not folders:
        return 0
    return len(os.path.commonprefix([list(each) for each in folders]))


def _doubted(
    tree: Tree, names: Sequence[Name], files: Sequence[Path | None]
) -> dict[int, Path]:
    """Places of names, and the images in other folders that they lead to."""
    found = [(place, file) for place, file in enumerate(files) if file is not None]
    named = {part for name in names for part in name.parts[:-1]}
    beside = {part for name in names for part in _folders(tree, name.beside)}
    groups: dict[tuple, list[int]] = defaultdict(list)
    agreement: dict[int, int] = {}
    for place, file in found:
        name, here = names[place], _folders(tree, file)
        wanted, own = name.parts[:-1], _folders(tree, name.beside)
        groups[wanted, () if wanted else (*own,)].append(place)
        agreement[place] = (
            _common(reversed(here), reversed(wanted))
            if wanted
            else max(_common(iter(here), iter(own)), _common(here[::-1], own[::-1]))
        )
    best = {key: max(agreement[p] for p in places) for key, places in groups.items()}
    unique = _unique(tree, names)
    doubted = {}
    for place, file in found:
        here, wanted = _folders(tree, file), names[place].parts[:-1]
        beside_it = () if wanted else (*_folders(tree, names[place].beside),)
        if (
            # Others with this folder lie in it, or nearer.
            agreement[place] < best[wanted, beside_it]
            # A folder that others have: cam0 for cam1, or for none.
            or not unique
            and (
                _is_of_others(here, wanted or beside_it, named if wanted else beside)
                or (not wanted and named & {*here})
            )
        ):
            doubted[place] = file
    return doubted


def _unique(tree: Tree, names: Sequence[Name]) -> bool:
    """Whether images can be told apart without their folders."""
    lasts = {(name.parts[-1:], name.parts) for name in names}
    stems = [key(image.stem) for image in tree.images]
    return len({last for last, _ in lasts}) == len(lasts) and (
        len({*stems}) == len(stems)
    )


def _is_of_others(
    here: Sequence[str], wanted: Sequence[str], of_names: set[str]
) -> bool:
    strange = [part for part in here if part not in wanted]
    lacking = [part for part in wanted if part not in here]
    return bool(strange and lacking and of_names.intersection(strange))


def _one_to_one(
    tree: Tree, names: Sequence[Name], files: list[Path | None]
) -> list[Path | None]:
    claims: dict[Path, list[int]] = defaultdict(list)
    for place, file in enumerate(files):
        if file is not None:
            claims[file].append(place)
    for file, places in claims.items():
        own = [names[place].beside for place in places if names[place].own]
        if len(own) > 1:
            raise UserError(
                f'{tree.relative(own[0])} and {tree.relative(own[1])} are both of the '
                f'image {tree.relative(file)}. Leave only one of them there, in a copy '
                'of the source'
            )
        if len({names[place].parts for place in places}) == 1:
            continue  # entries of one image, whose boxes are put together
        nearness = {place: _nearness(tree, names[place], file) for place in places}
        best = max(nearness.values())
        nearest = [place for place in places if nearness[place] == best]
        if len({names[place].parts for place in nearest}) > 1:
            first, second = (names[place] for place in nearest[:2])
            raise UserError(
                f'{first.text!r} of {tree.relative(first.beside)} and '
                f'{second.text!r} of {tree.relative(second.beside)} both lead to '
                f'{tree.relative(file)}. If they are two images, put the other one '
                'there; else leave one of the names out, in a copy of the source'
            )
        for place in {*places} - {*nearest}:
            files[place] = None
    return files


def _nearness(tree: Tree, name: Name, file: Path) -> tuple[Any, ...]:
    last = PurePosixPath(name.text.replace('\\', '/')).name
    return (
        last == file.name,
        key(last) in (key(file.name), key(file.stem)),
        _common(reversed(_folders(tree, file)), reversed(name.parts[:-1])),
    )


def _image_of(tree: Tree, name: Name, shared: int) -> Path | None:
    file = _image(tree, name, shared)
    if file is None and name.other:
        file = _image(tree, name._replace(text=name.other), shared)
    stem = name.beside.stem
    if not name.own or (file is not None and key(file.stem) == key(stem)):
        return file
    own = _image(tree, name._replace(text=stem), shared)
    if file is not None and own is not None:
        raise UserError(
            f'{name.beside} says that its image is {name.text!r}, but an image with '
            f'its own name is there too: {tree.relative(own)}. Were files renamed? In '
            'a copy of the source, write the right name into the file, or take the '
            'name out of it: then the own name counts'
        )
    return file or own


def _image(tree: Tree, name: Name, shared: int) -> Path | None:
    """The image that fits one name best, whatever the others are."""
    if not name.parts:
        return None
    wanted, last = name.parts[:-1], name.parts[-1]
    found = tree.images_named(last)
    split = split_of(PurePosixPath(*wanted[shared:])) or name.split
    if split and not name.listed:
        found = [file for file in found if _may_be_of(tree, file, split, wanted)]
    if len(found) < 2:
        return found[0] if found else None
    stem = PureWindowsPath(name.text).stem

    def fits(file: Path) -> tuple[Any, ...]:
        here, own = _folders(tree, file), _folders(tree, name.beside)
        return (
            _common(reversed(here), reversed(wanted)),
            len({*here} & {*wanted}),
            file.name == name.text.replace('\\', '/').rpartition('/')[2],
            bool(name.split) and tree.split_of(file.parent) == name.split,
            _common(iter(here), iter(own)),
            _common(reversed(here), reversed(own)),
            file.stem == stem,  # A.jpg beside a.jpg
        )

    best = max(map(fits, found))
    fitting = [file for file in found if fits(file) == best]
    if len(fitting) > 1:
        raise UserError(
            f'{name.beside} names the image {name.text!r}, and {len(fitting)} files '
            f'fit: {some(str(tree.relative(f)) for f in fitting)}. In a copy of the '
            'source, write their folders into the names, or leave one of the files'
        )
    return fitting[0]


def _may_be_of(tree: Tree, file: Path, split: str, wanted: Sequence[str]) -> bool:
    """Whether an image lies in no other split's folder, or the name leads into it."""
    if tree.split_of(file.parent) in ('', split):
        return True
    here = _folders(tree, file)
    agreed = _common(reversed(here), reversed(wanted))
    return bool(split_of(PurePosixPath(*here[len(here) - agreed :])))


def _folders(tree: Tree, file: Path) -> list[str]:
    return [key(part) for part in tree.relative(file).parts[:-1]]


def _common(one: Iterable[str], other: Iterable[str]) -> int:
    count = 0
    for a, b in zip(one, other):
        if a != b:
            break
        count += 1
    return count
