"""Which image each name in a source means.

All names of a source are matched together. Alone, a name whose image is lost
could take the image of the same name in another folder; together they show
that this folder belongs to others, and that two of them claim one file.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

from ...common.errors import UserError, some
from .found import Box, Found, Picture
from .tree import Tree, key, split_of

__all__ = ['Entry', 'Name', 'matched', 'place']


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
    """

    text: str
    beside: Path
    split: str = ''
    other: str = ''
    own: bool = False

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
    files = matched(tree, [entry.name for entry in entries])
    for (name, boxes, size, fractions), file in zip(entries, files):
        if file is None:
            found.lost.append(f'{name.text} of {tree.relative(name.beside)}')
            continue
        last = PurePosixPath(name.text.replace('\\', '/')).name
        if Path(last).suffix and file.name not in (last, name.other):
            found.changes['images are there under another ending or spelling'] += 1
        splits = listed.get(file) or {name.split or tree.split_of(file.parent)}
        for split in sorted(splits):
            found.pictures.append(Picture(file, boxes, size, split, fractions))


def matched(tree: Tree, names: Sequence[Name]) -> list[Path | None]:
    """The image of each name, wherever it lies in the source; None if lost.

    Of several images it is the one whose folders agree best with the name,
    then with the split, then with the annotation file's own folders. One in the
    folder of another split is none, unless the name leads into it, nor is one
    in a folder that belongs to other names. Of different names for one image
    the nearest gets it.

    Args:
        tree: The source.
        names: All that it has.

    Raises:
        UserError: Several images fit a name equally well, or several names an
            image; or a file's content and its own name lead to two images.
    """
    files = [_image_of(tree, name) for name in names]
    folders = {part for image in tree.images for part in _folders(tree, image)}
    by_text, by_place = _Folders(folders), _Folders(folders)
    for name in names:
        by_text.add(name.parts[:-1])
        by_place.add(_folders(tree, name.beside))
    for place, (name, file) in enumerate(zip(names, files)):
        if file is None:
            continue
        here, wanted = _folders(tree, file), name.parts[:-1]
        there = _folders(tree, name.beside)
        if (
            by_text.first_differ(here, wanted)
            if wanted
            else by_place.differ(here, there)
        ):
            files[place] = None
    return _one_to_one(tree, names, files)


class _Folders:
    """The folders that names have, which tell of another image where they differ.

    An image's folder does if other names have it, and a name's if images are there
    and not all names have it: cam0 for cam1. 'imgs' for 'images' tells nothing.
    """

    def __init__(self, of_images: set[str]) -> None:
        self.of_images = of_images
        self.of_names: set[str] = set()
        self.of_all_names: set[str] | None = None

    def add(self, folders: Sequence[str]) -> None:
        self.of_names.update(folders)
        every = self.of_all_names
        self.of_all_names = {*folders} if every is None else every & {*folders}

    def differ(self, here: Sequence[str], wanted: Sequence[str]) -> bool:
        strange, lacking = {*here} - {*wanted}, {*wanted} - {*here}
        if not (strange and lacking):
            return False
        telling = self.of_images - (self.of_all_names or set())
        return bool(strange & self.of_names or lacking & telling)

    def first_differ(self, here: Sequence[str], wanted: Sequence[str]) -> bool:
        """Of the first two that differ, from the end; an order tells nothing."""
        for is_, should in zip(reversed(here), reversed(wanted)):
            if is_ != should:
                elsewhere = is_ in wanted or should in here
                return not elsewhere and self.differ([is_], [should])
        return False


def _one_to_one(
    tree: Tree, names: Sequence[Name], files: list[Path | None]
) -> list[Path | None]:
    claims: dict[Path, list[int]] = defaultdict(list)
    for place, file in enumerate(files):
        if file is not None:
            claims[file].append(place)
    for file, places in claims.items():
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
        key(last) == key(file.name),
        _common(reversed(_folders(tree, file)), reversed(name.parts[:-1])),
    )


def _image_of(tree: Tree, name: Name) -> Path | None:
    file = _image(tree, name)
    if file is None and name.other:
        file = _image(tree, name._replace(text=name.other))
    stem = name.beside.stem
    if not name.own or (file is not None and key(file.stem) == key(stem)):
        return file
    own = _image(tree, name._replace(text=stem))
    if file is not None and own is not None:
        raise UserError(
            f'{name.beside} says that its image is {name.text!r}, but an image with '
            f'its own name is there too: {tree.relative(own)}. Were files renamed? In '
            'a copy of the source, write the right name into the file, or take the '
            'name out of it: then the own name counts'
        )
    return file or own


def _image(tree: Tree, name: Name) -> Path | None:
    """The image that fits one name best, whatever the others are."""
    if not name.parts:
        return None
    wanted, last = name.parts[:-1], name.parts[-1]
    found = tree.images_named(last)
    split = split_of(PurePosixPath(*wanted)) or name.split
    if split:
        found = [file for file in found if tree.split_of(file.parent) in ('', split)]
    if len(found) < 2:
        return found[0] if found else None
    stem = PureWindowsPath(name.text).stem

    def fits(file: Path) -> tuple[Any, ...]:
        here, own = _folders(tree, file), _folders(tree, name.beside)
        return (
            _common(reversed(here), reversed(wanted)),
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


def _folders(tree: Tree, file: Path) -> list[str]:
    return [key(part) for part in tree.relative(file).parts[:-1]]


def _common(one: Iterator[str], other: Iterator[str]) -> int:
    count = 0
    for a, b in zip(one, other):
        if a != b:
            break
        count += 1
    return count
