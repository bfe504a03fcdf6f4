"""Writing a file or a folder so that it is whole or not there."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UserError

__all__ = ['check_writable', 'remove_unfinished', 'written_whole']

# In the names of what is being written: nobody else's folder may be taken for it.
_UNFINISHED = 'unfinished-'


@contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a path beside ``path`` that becomes ``path`` at the end.

    What the block wrote there is dropped if it raises, and so are the folders
    above that were made for it. A file is on the disk when this returns, so what
    it makes superfluous may be deleted: not even a loss of power then leaves
    neither. A folder's files are not waited for.

    Args:
        path: File to write or replace, or folder to make. The path given has
            the same name, by whose ending writers choose a format.

    Raises:
        OSError: Among others where a folder that is not empty is in the way.
    """
    path = Path(path)
    with _no_new_folders(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder: a rename works within one file system only.
        with tempfile.TemporaryDirectory(
            prefix=f'.{path.name}.{_UNFINISHED}', dir=path.parent
        ) as scratch:
            part = Path(scratch, path.name)
            yield part
            if part.is_file():
                _wait_for_disk(part)
            os.replace(part, path)
            with suppress(OSError):  # not every system can do this to a folder
                _wait_for_disk(path.parent)


@contextmanager
def _no_new_folders(folder: Path) -> Iterator[None]:
    """Removes the empty folders that a failed block made, up to ``folder``."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        for path in new:
            with suppress(OSError):
                path.rmdir()
        raise


def check_writable(path: str | os.PathLike) -> None:
    """Before minutes of work: can the file or folder be made? Nothing is left.

    Raises:
        UserError: No right to write, a file in place of a folder, a full disk.
    """
    folder = Path(path).absolute().parent
    try:
        folder = next(one for one in (folder, *folder.parents) if one.exists())
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f'nothing can be written into {folder}: {error.strerror}. Choose '
            'another folder'
        ) from error


def _wait_for_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(folder: str | os.PathLike, pattern: str) -> None:
    """Removes what killed processes left of files they were writing.

    Args:
        folder: Where they wrote; nobody may write there now.
        pattern: Of the names of the files, with wildcards as in a shell.
    """
    # As tempfile names them: eight characters after the prefix.
    for scratch in Path(folder).glob(f'.{pattern}.{_UNFINISHED}{"[a-z0-9_]" * 8}'):
        shutil.rmtree(scratch, ignore_errors=True)
