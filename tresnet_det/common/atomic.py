"""Writing a file or a folder so that it is whole or not there."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ['remove_unfinished', 'written_whole']


@contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a path beside ``path`` that becomes ``path`` at the end.

    What the block wrote there is dropped if it raises. A file is on the disk
    when this returns, so what it makes superfluous may be deleted: not even a
    loss of power then leaves neither. A folder's files are not waited for.

    Args:
        path: File to write or replace, or folder to make. The path given has
            the same name, by whose ending writers choose a format.

    Raises:
        OSError: Among others where a folder that is not empty is in the way.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: a rename works within one file system only.
    with tempfile.TemporaryDirectory(
        prefix=f'.{path.name}.', dir=path.parent
    ) as scratch:
        part = Path(scratch, path.name)
        yield part
        if part.is_file():
            _wait_for_disk(part)
        os.replace(part, path)
        with suppress(OSError):  # not every system can do this to a folder
            _wait_for_disk(path.parent)


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
    for scratch in Path(folder).glob(f'.{pattern}.{"[a-z0-9_]" * 8}'):
        shutil.rmtree(scratch, ignore_errors=True)
