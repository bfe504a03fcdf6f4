"""COCO 2017 in the layout that MMDetection expects, downloaded with checks.

MMDetection's own ``tools/misc/download_dataset.py`` fetches nine archives,
begins each anew after a stop, compares no checksum and, with its default of
four threads, passes over errors in silence.
"""

import fcntl
import hashlib
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.request import Request, urlopen
from zipfile import BadZipFile, ZipFile

from .archives import members_of, write_member

__all__ = ['ARCHIVES', 'Archive', 'BASE_URL', 'download_coco']

BASE_URL = 'http://images.cocodataset.org'
TIMEOUT = 60  # seconds without a byte
CHUNK = 1 << 20

# Called with what is done, how far it is, and how far it will go.
Tell = Callable[[str, int, int], None]


class Archive(NamedTuple):
    """An archive of COCO and the folder that it holds.

    Attributes:
        url: Below the base address.
        size: Bytes of the archive.
        md5: Of the archive. COCO publishes no checksums: these are what many
            who have downloaded it have written down.
        files: How many files the folder has.
        unpacked: Bytes of the folder, about; for the check of the disk.
    """

    url: str
    size: int
    md5: str
    files: int
    unpacked: int


ARCHIVES = {
    'annotations': Archive(
        'annotations/annotations_trainval2017.zip',
        252907541,
        'f4bbac642086de4f52a3fdda2de5fa2c',
        6,
        850_000_000,
    ),
    'val2017': Archive(
        'zips/val2017.zip',
        815585330,
        '442b8da7639aecaf257c1dceb8ba8c80',
        5000,
        830_000_000,
    ),
    'train2017': Archive(
        'zips/train2017.zip',
        19336861798,
        'cced6f7f71b7629ddf16f17bbcfab6b2',
        118287,
        19_700_000_000,
    ),
}


def download_coco(
    root: str | os.PathLike,
    names: Iterable[str] = tuple(ARCHIVES),
    base_url: str = BASE_URL,
    keep_archives: bool = False,
    tell: Tell = lambda what, done, total: None,
    archives: Mapping[str, Archive] = ARCHIVES,
) -> None:
    """Makes ``root/<name>`` for each name, where it is not there already.

    A download that was stopped goes on from where it was, in this call as
    long as the server sends something, and in the next. An archive that lies
    in ``root`` is taken. A folder appears when it is whole.

    Args:
        root: ``data/coco`` as a rule.
        names: Of ``archives``.
        base_url: Of the official server or of a mirror.
        keep_archives: Leave the archives in ``root``.
        tell: Called with the progress.
        archives: What there is.

    Raises:
        KeyError: Another name.
        OSError: The disk is too small, another call is at work in ``root``,
            or the download failed.
        ValueError: What came or what lay there is not what it should be.
    """
    root, names = Path(root), tuple(names)
    if not {*names} <= {*archives}:
        raise KeyError(f'the parts are {names}, expected are some of {tuple(archives)}')
    root.mkdir(parents=True, exist_ok=True)
    with _alone(root):
        wanted = {
            name: archives[name]
            for name in names
            if not _is_there(root / name, archives[name])
        }
        for name in wanted:  # what a killed run left
            shutil.rmtree(_part(root / name), ignore_errors=True)
        _check_disk(root, wanted.values(), keep_archives)
        for name, archive in wanted.items():
            path = root / PurePosixPath(archive.url).name
            if not path.exists():
                _fetch(
                    f'{base_url.rstrip("/")}/{archive.url}', archive, _part(path), tell
                )
                os.replace(_part(path), path)
            else:
                _check(
                    path,
                    archive,
                    'delete it, or rename it to '
                    f'{_part(path).name} if it is the beginning of a '
                    'download; then call again',
                    tell,
                )
            _unpack(path, root / name, archive.files, tell)
            if not keep_archives:
                path.unlink()


def _part(path: Path) -> Path:
    """Where a file or folder is made. One name, not a random one: what a
    killed run leaves is found again."""
    return path.with_name(f'{path.name}.part')


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Keeps a second call out; a killed one lets go."""
    folder = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(
                f'another download is at work in {root}; wait for its end'
            ) from error
        yield
    finally:
        os.close(folder)


def _is_there(folder: Path, archive: Archive) -> bool:
    if not folder.exists():
        return False
    found = sum(1 for _ in os.scandir(folder))
    if found < archive.files:  # more are the user's, such as annotations
        raise ValueError(
            f'{folder} has {found} files, expected are '
            f'{archive.files}; move it away and call again'
        )
    return True


def _check_disk(root: Path, wanted: Iterable[Archive], keep: bool) -> None:
    rest = []
    for archive in wanted:
        path = root / PurePosixPath(archive.url).name
        have = sum(p.stat().st_size for p in (path, _part(path)) if p.exists())
        rest.append((max(archive.size - have, 0), archive.unpacked))
    downloads = [size for size, _ in rest]
    needed = sum(size for _, size in rest) + (
        sum(downloads) if keep else max(downloads, default=0)
    )
    free = shutil.disk_usage(root).free
    if free < needed:
        raise OSError(
            f'{root} has {free / 1e9:.1f} GB free, but '
            f'{needed / 1e9:.1f} GB are needed; free some space or '
            'take fewer parts'
        )


def _fetch(url: str, archive: Archive, part: Path, tell: Tell) -> None:
    """Downloads to ``part``, going on with what is there."""
    reached = -1
    while True:
        start = part.stat().st_size if part.exists() else 0
        if start >= archive.size:
            break
        if start <= reached:
            raise OSError(
                f'{url}: the connection ended after {start} of '
                f'{archive.size} bytes, again; call again to go on'
            )
        reached = start
        try:
            _receive(url, archive.size, part, start, tell)
        except (OSError, HTTPException) as error:
            have = part.stat().st_size if part.exists() else 0
            if have <= reached:
                raise OSError(
                    f'{url} could not be downloaded: {error} (after {have} '
                    f'of {archive.size} bytes). Call again to go on, or put '
                    f'{part.name[: -len(".part")]} into {part.parent}'
                ) from error
    try:
        _check(part, archive, 'it is deleted; call again', tell)
    except ValueError:
        part.unlink()
        raise


def _receive(url: str, size: int, part: Path, start: int, tell: Tell) -> None:
    """Appends what the server sends, until it ends or the connection does."""
    headers = {'Range': f'bytes={start}-'} if start else {}
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as response:
        if response.status != 206:
            start = 0  # the server knows no ranges and sends all
        length = response.headers['Content-Length']
        if length and start + int(length) != size:
            raise ValueError(
                f'{url} has {start + int(length)} bytes, '
                f'expected are {size}: it is another file'
            )
        with open(part, 'ab' if start else 'wb') as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                start += len(chunk)
                tell(f'downloading {part.stem}', start, size)


def _check(path: Path, archive: Archive, remedy: str, tell: Tell) -> None:
    """Compares size and checksum."""
    size = path.stat().st_size
    if size != archive.size:
        raise ValueError(
            f'{path} has {size} bytes, expected are {archive.size}; {remedy}'
        )
    digest, done = hashlib.md5(usedforsecurity=False), 0
    with open(path, 'rb') as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            tell(f'checking {path.name}', done, size)
    if digest.hexdigest() != archive.md5:
        raise ValueError(
            f'{path} is damaged: its md5 is '
            f'{digest.hexdigest()}, expected is {archive.md5}; '
            f'{remedy}'
        )


def _unpack(path: Path, folder: Path, files: int, tell: Tell) -> None:
    """Unpacks the one folder of an archive, whole or not at all."""
    part = _part(folder)
    try:
        with ZipFile(path) as archive:
            members = members_of(archive, path)
            for member in members:
                if PurePosixPath(member.filename).parts != (
                    folder.name,
                    Path(member.filename).name,
                ):
                    raise ValueError(
                        f'{path} holds {member.filename!r}, expected are '
                        f'files in {folder.name}/ only'
                    )
            found = len({member.filename for member in members})
            if found != files:
                raise ValueError(f'{path} holds {found} files, expected are {files}')
            part.mkdir()
            for done, member in enumerate(members, 1):
                write_member(archive, member, part / Path(member.filename).name)
                tell(f'unpacking {path.name}', done, files)
        os.replace(part, folder)
    except (BadZipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f'{path} is no whole archive: {error}; delete it and call again'
        ) from error
    except OSError as error:
        raise OSError(
            f'{path} could not be unpacked to {folder}: {error}; mend it and call again'
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
