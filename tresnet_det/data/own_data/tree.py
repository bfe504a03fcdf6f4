"""What lies in a source folder."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

__all__ = ['ANNOTATIONS', 'IMAGES', 'Tree', 'key', 'split_of']

# What OpenCV reads.
IMAGES = ('.bmp', '.jfif', '.jpe', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
_UNREAD = ('.avif', '.cr2', '.dng', '.gif', '.heic', '.heif', '.jp2', '.nef', '.tga')
# What readers read; an archive or a film beside it is passed over.
ANNOTATIONS = ('.data', '.json', '.names', '.txt', '.xml', '.yaml', '.yml')
_HIDDEN = ('.', '__MACOSX')
_SPLITS = {
    'train': 'train',
    'training': 'train',
    'val': 'val',
    'valid': 'val',
    'validation': 'val',
    'test': 'test',
    'testing': 'test',
}
_WHOLE = ('dev', 'eval')  # 'dev_board' is no split


def split_of(path: PurePosixPath | Path) -> str:
    """The split that a path names, 'train2017' or 'instances_val' too; else ''.

    Args:
        path: Relative to the source; the last part that names a split counts.
    """
    for part in reversed(path.parts):
        if Path(part).stem.lower() in _WHOLE:
            return 'val'
        for word in re.split(r'[\W_]+', part.lower()):
            found = _SPLITS.get(word.rstrip('0123456789'))
            if found:
                return found
    return ''


def key(name: str) -> str:
    """A name without what systems differ in: capitals, forms of Unicode."""
    return unicodedata.normalize('NFC', name).lower()


class Tree:
    """The files below a folder, each listed once.

    Args:
        root: The folder.
        only: Of the annotation files take those alone that fit this pattern;
            what else is read, names of classes or lists, is there nevertheless.
        images: Where the images lie if not in ``root``.
        any_folder: Names mean images in other folders than they say.
    """

    def __init__(
        self,
        root: Path,
        only: str | None = None,
        images: Path | None = None,
        any_folder: bool = False,
    ) -> None:
        self.root, self.only, self.any_folder = root, only, any_folder
        files = [*_files(root)]
        self.images = [f for f in files if f.suffix.lower() in IMAGES]
        self.others = [f for f in files if f.suffix.lower() not in IMAGES]
        self.image_root = images or root
        if images:
            self.images = [f for f in _files(images) if f.suffix.lower() in IMAGES]

    def relative(self, file: Path) -> Path:
        """A path below the folder that it was listed from."""
        for root in (self.image_root, self.root):
            if file.is_relative_to(root):
                return file.relative_to(root)
        return file

    @cached_property
    def _above(self) -> tuple[str, ...]:
        """The folders that all images have in common: they divide nothing."""
        if not self.images:
            return ()
        common = os.path.commonpath([image.parent for image in self.images])
        return self.relative(Path(common)).parts

    def split_of(self, path: Path) -> str:
        """The split that a file or folder here names, see `split_of`.

        What stands above all images, 'my-test-set', names none.
        """
        parts = self.relative(path).parts
        above = 0
        while parts[above : above + 1] == self._above[above : above + 1] != ():
            above += 1
        return split_of(PurePosixPath(*parts[above:]))

    def with_suffix(self, *suffixes: str) -> list[Path]:
        """The files that are no images and end so."""
        return [f for f in self.others if f.suffix.lower() in suffixes]

    @property
    def unread(self) -> str:
        """What to say of images that are there and cannot be read; or ''."""
        endings = {f.suffix.lower() for f in self.others} & {*_UNREAD}
        return (
            f'. Images that end in {", ".join(sorted(endings))} are there, which are '
            'not read: save them as PNG or JPEG'
            if endings
            else ''
        )

    def chosen(self, files: Iterable[Path], only: str | None = None) -> list[Path]:
        """Of annotation files those that a pattern takes, by default `only`."""
        only = only or self.only
        return [f for f in files if not only or f.relative_to(self.root).match(only)]

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        return self._listed(lambda f: key(f.name))

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        return self._listed(lambda f: key(f.stem))

    def _listed(self, by: Callable[[Path], str]) -> dict[str, list[Path]]:
        listed = defaultdict(list)
        for file in self.images:
            listed[by(file)].append(file)
        return listed

    def folders(self, image: Path) -> tuple[str, ...]:
        """The folders of an image, that of ``images`` itself included."""
        top = self.image_root
        if top == self.root:
            return self.relative(image).parts[:-1]
        if top.is_relative_to(self.root):
            return image.relative_to(self.root).parts[:-1]
        return (top.name, *self.relative(image).parts[:-1])

    def images_named(self, name: str) -> list[Path]:
        """The images of this name, whatever their ending.

        Args:
            name: With its ending, with that of another format, or without.
        """
        path = PureWindowsPath(name)
        ending = path.suffix.lower() in (*IMAGES, *_UNREAD)
        stem = path.stem if ending else name
        found = [*self._by_stem.get(key(stem), ()), *self._by_stem.get(key(name), ())]
        return [*dict.fromkeys(found)]

    def has_image(self, name: str) -> bool:
        """Whether an image has this name, with its ending or without."""
        return key(name) in self._by_stem or key(name) in self._by_name


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
