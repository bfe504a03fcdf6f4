"""What lies in a source folder, and which image a name means."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

from ...common.errors import UserError, some

__all__ = ['ANNOTATIONS', 'IMAGES', 'Tree', 'split_of']

# What OpenCV reads.
IMAGES = ('.bmp', '.jpe', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
# What readers read; an archive or a film beside it is passed over.
ANNOTATIONS = ('.json', '.names', '.txt', '.xml', '.yaml', '.yml')
_HIDDEN = ('.', '__MACOSX')
_SPLITS = {
    'train': 'train',
    'training': 'train',
    'val': 'val',
    'valid': 'val',
    'validation': 'val',
    'dev': 'val',
    'test': 'test',
    'testing': 'test',
}


def split_of(path: PurePosixPath | Path) -> str:
    """The split that a path names, 'train2017' or 'instances_val' too; else ''.

    Args:
        path: Relative to the source; the last part that names a split counts.
    """
    for part in reversed(path.parts):
        for word in re.split(r'[\W_]+', part.lower()):
            found = _SPLITS.get(word.rstrip('0123456789'))
            if found:
                return found
    return ''


class Tree:
    """The files below a folder, each listed once.

    Args:
        root: The folder.
        only: Of the annotation files take those alone that fit this pattern;
            what else is read, names of classes or lists, is there nevertheless.
        images: Where the images lie if not in ``root``.
    """

    def __init__(
        self, root: Path, only: str | None = None, images: Path | None = None
    ) -> None:
        self.root, self.only = root, only
        files = [*_files(root)]
        self.images = [f for f in files if f.suffix.lower() in IMAGES]
        self.others = [f for f in files if f.suffix.lower() not in IMAGES]
        self.image_root = images or root
        if images:
            self.images = [f for f in _files(images) if f.suffix.lower() in IMAGES]

    def relative(self, file: Path) -> Path:
        """A file's path below the folder that it was listed from."""
        for root in (self.root, self.image_root):
            if file.is_relative_to(root):
                return file.relative_to(root)
        return file

    def with_suffix(self, *suffixes: str) -> list[Path]:
        """The files that are no images and end so."""
        return [f for f in self.others if f.suffix.lower() in suffixes]

    def chosen(self, files: Iterable[Path]) -> list[Path]:
        """Of annotation files those that ``only`` takes."""
        only = self.only
        return [f for f in files if not only or f.relative_to(self.root).match(only)]

    def has_image(self, name: str) -> bool:
        """Whether an image has this name, with its ending or without."""
        return _key(name) in self._by_stem or _key(name) in self._by_name

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        return self._listed(lambda f: _key(f.name))

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        return self._listed(lambda f: _key(f.stem))

    def _listed(self, key: Callable[[Path], str]) -> dict[str, list[Path]]:
        listed = defaultdict(list)
        for file in self.images:
            listed[key(file)].append(file)
        return listed

    def image(self, name: str, beside: Path, split: str = '') -> Path | None:
        """The image that an annotation means, wherever it lies in the source.

        Of several with its name it is the one whose folders agree best with
        the name, then with the split, then with the annotation's own folders. One
        in the folder of another split is none, unless the name leads into it.

        Args:
            name: As written: with folders or without, of another system, with
                another ending, or with none.
            beside: The annotation file.
            split: It is of.

        Raises:
            UserError: Several fit equally well.
        """
        parts = [*PurePosixPath(name.replace('\\', '/')).parts]
        if not parts:
            return None
        last = _key(parts[-1])
        found = (
            self._by_name.get(last)
            or self._by_stem.get(_key(PureWindowsPath(parts[-1]).stem))
            or self._by_stem.get(last)
        )

        named = split_of(PurePosixPath(*parts[:-1])) or split

        def elsewhere(file: Path) -> bool:
            return split_of(self.relative(file).parent) not in ('', named)

        found = [file for file in found or () if not (named and elsewhere(file))]
        if len(found) < 2:
            return found[0] if found else None

        def fits(file: Path) -> tuple[int, ...]:
            folders = [_key(part) for part in self.relative(file).parts[:-1]]
            wanted = [_key(part) for part in parts[:-1]]
            own = [_key(part) for part in self.relative(beside).parts[:-1]]
            return (
                _common(reversed(folders), reversed(wanted)),
                bool(split) and split_of(self.relative(file).parent) == split,
                _common(iter(folders), iter(own)),
                file.stem == PureWindowsPath(parts[-1]).stem,  # A.jpg beside a.jpg
            )

        best = max(map(fits, found))
        fitting = [file for file in found if fits(file) == best]
        if len(fitting) > 1:
            raise UserError(
                f'{beside} names the image {name!r}, and {len(fitting)} files fit: '
                f'{some(str(self.relative(f)) for f in fitting)}. Name the folder of '
                'the images with --images, or leave only one of them there'
            )
        return fitting[0]

    def image_of(self, file: Path, name: str, split: str = '') -> Path | None:
        """The image of a file that has the annotations of one, see `image`.

        Args:
            file: Named as its image is, where the name in it leads nowhere.
            name: The image's, as the file has it.
            split: The file is of.

        Raises:
            UserError: The name leads to one image, the file's own name to another.
        """
        named = self.image(name, file, split)
        if named is not None and _key(named.stem) == _key(file.stem):
            return named
        own = self.image(file.stem, file, split)
        if named is not None and own is not None:
            raise UserError(
                f'{file} says that its image is {name!r}, but an image with its own '
                f'name is there too: {self.relative(own)}. Were files renamed? In a '
                'copy of the source, write the right name into the file, or take the '
                'name out of it: then the own name counts'
            )
        return named or own


def _common(one: Iterator[str], other: Iterator[str]) -> int:
    count = 0
    for a, b in zip(one, other):
        if a != b:
            break
        count += 1
    return count


def _key(name: str) -> str:
    return unicodedata.normalize('NFC', name).lower()


def _files(root: Path) -> Iterator[Path]:
    """All files, in one order on every system; links are followed once.

    A link to nothing is no file: what names it is missing.
    """
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        here = os.path.realpath(folder)
        if here in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(here)
        folders[:] = sorted(f for f in folders if not f.startswith(_HIDDEN))
        files = (Path(folder, name) for name in sorted(names) if name[0] != '.')
        yield from filter(Path.exists, files)
