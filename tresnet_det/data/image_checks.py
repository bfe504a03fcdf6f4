"""Are the images there that an annotation file names?"""

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ..common.errors import UserError, some
from .annotation_files import how_to_mend

__all__ = [
    'FolderOfImages',
    'check_images_exist',
    'leaves_folder',
    'missing_images',
    'remedy_for_missing',
]


def leaves_folder(name: str) -> bool:
    """Whether a file name leads out of the folder that it is joined to, on any
    system: absolute, with '..', or with a drive."""
    return any(
        path.anchor or '..' in path.parts
        for path in (PurePosixPath(name), PureWindowsPath(name))
    )


class FolderOfImages:
    """What lies below a folder; each folder is listed once.

    Args:
        root: The folder.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self.root = Path(root)
        self._names = cache(_names)
        self._by_key = cache(self._list_by)

    def __contains__(self, name: str) -> bool:
        path = Path(self.root, name)
        return path.name in self._names(path.parent)

    def find(self, name: str) -> tuple[str, str] | None:
        """The name of a missing image as it is there, and what differs.

        Args:
            name: Relative to the folder.
        """
        slashes = name.replace('\\', '/')
        ways: dict[str, Callable[[], str | None]] = {
            'backslashes, as Windows writes them, in place of /': lambda: slashes,
            'other capitals or another ending': lambda: self._like(slashes, _stem),
            'another Unicode form of their letters': lambda: self._like(slashes, _form),
            'a folder in their names too many': lambda: PurePosixPath(slashes).name,
            'the folder itself in their names': (
                lambda: slashes.removeprefix(f'{self.root.name}/')
            ),
        }
        for way, find in ways.items():
            found = find()
            if found and found != name and found in self:
                return found, way
        return None

    def _like(self, name: str, key: Callable[[str], str]) -> str | None:
        path = Path(self.root, name)
        found = self._by_key(path.parent, key).get(key(path.name), [])
        if len(found) != 1:  # several: nobody knows which
            return None
        return str(PurePosixPath(name).with_name(found[0]))

    def _list_by(self, folder: Path, key: Callable) -> Mapping[str, list[str]]:
        listed = defaultdict(list)
        for name in self._names(folder):
            listed[key(name)].append(name)
        return listed


def _names(folder: Path) -> frozenset[str]:
    return frozenset(os.listdir(folder)) if folder.is_dir() else frozenset()


def _stem(name: str) -> str:
    return name.rpartition('.')[0].lower() or name.lower()


def _form(name: str) -> str:
    return unicodedata.normalize('NFC', name)


def check_images_exist(
    content: Mapping[str, Any],
    folder: str | os.PathLike,
    ann_file: str | os.PathLike,
    allow_some: bool = False,
) -> None:
    """Compares file names with what lies in a folder.

    Args:
        content: Whole COCO annotations.
        folder: Where the images should lie.
        ann_file: Path of the annotations, for the message.
        allow_some: Accept missing images, unless all are.

    Raises:
        UserError: Images are missing; the message counts them, and says if
            they are there under other names.
    """
    names = [image['file_name'] for image in content['images']]
    missing = missing_images(names, folder)
    if not missing or (allow_some and len(missing) < len(names)):
        return
    raise UserError(
        f'{len(missing)} of {len(names)} images that {ann_file} names are not '
        f'there: {some(str(Path(folder, name)) for name in missing)}. '
        f'{remedy_for_missing(missing, ann_file, folder)}'
    )


def missing_images(
    names: Iterable[str], folder: str | os.PathLike
) -> dict[str, tuple[str, str] | None]:
    """Which images are not there.

    Args:
        names: File names, relative to the folder.
        folder: Where the images should lie.

    Returns:
        Name -> the name as it is there and what differs, if it is found.
    """
    there = FolderOfImages(folder)
    return {name: there.find(name) for name in names if name not in there}


def remedy_for_missing(
    missing: Mapping[str, tuple[str, str] | None],
    ann_file: str | os.PathLike,
    folder: str | os.PathLike,
) -> str:
    """What to do about missing images.

    Args:
        missing: See ``missing_images``.
        ann_file: Path of the annotations.
        folder: Where the images should lie.
    """
    ways = Counter(found[1] for found in missing.values() if found)
    if not ways:
        return (
            'Set data_root and data_prefix in the config or mend the files; '
            'skip_corrupt_images = True in the config goes on without some'
        )
    way, count = ways.most_common(1)[0]
    one, other = next(
        (name, found[0]) for name, found in missing.items() if found and found[1] == way
    )
    return (
        f'{count} of them are there under names that differ: the file has '
        f'{way} ({one!r}, there is {other!r}). {how_to_mend(ann_file, folder)}'
    )
