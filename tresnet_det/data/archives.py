"""Zip archives of others: nothing leaves the folder, or fills the disk."""

import os
import shutil
import stat
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo

from ..common.errors import UserError, some
from .image_checks import leaves_folder

__all__ = ['members_of', 'unpack', 'write_member']


def members_of(archive: ZipFile, name: Path) -> list[ZipInfo]:
    """The files of an archive.

    Args:
        archive: It.
        name: Its path, for the messages.

    Raises:
        UserError: A member leaves the folder that it is unpacked to, is a link,
            is encrypted, or stands there twice.
    """
    members = [m for m in archive.infolist() if not m.is_dir()]
    if any('\\' in m.filename for m in members):
        # Some tools on Windows write them in place of /, against the format.
        for member in members:
            member.filename = member.filename.replace('\\', '/')
        members = [m for m in members if not m.filename.endswith('/')]
    counts = Counter(m.filename for m in members)
    folders = {str(above) for name in counts for above in PurePosixPath(name).parents}
    for wrong, what in (
        (lambda m: leaves_folder(m.filename), 'leave the folder'),
        (lambda m: stat.S_ISLNK(m.external_attr >> 16), 'are links'),
        (lambda m: m.flag_bits & 1, 'are encrypted'),
        (lambda m: counts[m.filename] > 1, 'stand there twice'),
        (lambda m: m.filename in folders, 'are files and folders in one'),
        (
            lambda m: any(
                len(os.fsencode(part)) > 255 for part in m.filename.split('/')
            ),
            'have names longer than 255 bytes',
        ),
    ):
        names = [repr(m.filename) for m in members if wrong(m)]
        if names:
            raise UserError(
                f'{name} has {len(names)} members that {what} ({some(names)}), as no '
                'export has them. Unpack it yourself, look at them, and give the '
                'folder'
            )
    return members


def write_member(archive: ZipFile, member: ZipInfo, target: Path) -> None:
    """Writes one member into a file; its checksum is compared."""
    with archive.open(member) as source, open(target, 'wb') as file:
        shutil.copyfileobj(source, file)


def unpack(
    path: Path, folder: Path, progress: Callable[[], None] = lambda: None
) -> None:
    """Unpacks an archive into a new folder.

    Args:
        path: Of the archive.
        folder: To make.
        progress: Called after each file.

    Raises:
        UserError: The archive is damaged, or larger than the disk.
    """
    try:
        with ZipFile(path) as archive:
            members = members_of(archive, path)
            needed = sum(m.file_size for m in members)
            free = shutil.disk_usage(folder.parent).free
            if needed > free:
                raise UserError(
                    f'{path} unpacks to {needed / 1e9:.1f} GB, and {folder.parent} has '
                    f'{free / 1e9:.1f} GB free'
                )
            for member in members:
                target = folder / PurePosixPath(member.filename)
                target.parent.mkdir(parents=True, exist_ok=True)
                write_member(archive, member, target)
                progress()
    except (BadZipFile, EOFError, NotImplementedError, zlib.error) as error:
        raise UserError(
            f'{path} is no whole zip archive ({error}). Download or copy it again'
        ) from error
