"""Finding the checkpoint that a stopped run goes on from."""

import logging
import re
import zipfile
from pathlib import Path

from mmengine.logging import print_log
from mmengine.runner import find_latest_checkpoint

from ...common.errors import UserError
from ...weights.safe_globals import load
from .checkpoint_checks import explained

__all__ = [
    'choose_checkpoint',
    'damage',
    'find_whole_checkpoint',
    'read_mapped',
    'read_seed',
]


def choose_checkpoint(
    work_dir: str | Path, given: str | None = None
) -> tuple[str | None, int | None]:
    """What a run resumes from, and the seed in it.

    Args:
        work_dir: Of the run, to look through if nothing is given.
        given: A path or an address.

    Returns:
        Either may be None: there is no checkpoint yet, or no seed is known.

    Raises:
        UserError: The checkpoint is damaged or none; or all are.
    """
    chosen = given or find_whole_checkpoint(work_dir)
    if chosen is None or not Path(chosen).is_file():
        return chosen, None  # an address, or for the loader to tell
    # What is no archive (safetensors, a web page) is for the reader to tell.
    with open(chosen, 'rb') as file:
        archive = file.read(2) == b'PK'
    fault = damage(chosen) if given and archive else None
    if fault:
        raise UserError(f'cannot resume from {given}, which is damaged: {fault}')
    with explained(chosen, resume=True):
        return chosen, read_seed(chosen)


def damage(checkpoint: str | Path) -> str | None:
    """What is wrong with a checkpoint file; None if it is whole.

    torch writes a zip archive with a checksum for each tensor, and does not
    compare them when it reads.
    """
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            part = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        return str(error)
    return f'the checksum of {part} does not fit' if part else None


def find_whole_checkpoint(work_dir: str | Path) -> str | None:
    """The newest checkpoint of a run that is whole; None before the first.

    First comes the one that ``last_checkpoint`` names, then the others of its
    folder from the newest to the oldest: those named as it is but for the
    number, or as MMEngine names them. Best checkpoints are not, which have no
    optimiser, nor weights that were put there. What is passed over is named
    in a warning.

    Raises:
        UserError: There are checkpoints, but none is whole.
    """
    named = find_latest_checkpoint(str(work_dir)) or ''  # empty: cut off
    if '://' in named:
        return named  # not on a disk: whole or not is its server's affair
    if named and not Path(named).exists():  # the folder was moved here
        named = str(Path(work_dir, Path(named).name))
    folder = Path(named).parent if named else Path(work_dir)
    names = {'epoch_#.pth', 'iter_#.pth', _unnumbered(named)}
    others = sorted(
        (path for path in folder.glob('*.pth') if _unnumbered(path) in names),
        key=lambda path: path.stat().st_mtime_ns,
        reverse=True,
    )
    faults: list[str] = []
    for path in dict.fromkeys([*filter(None, [named]), *map(str, others)]):
        fault = damage(path)
        if fault is None:
            for line in faults:
                print_log(
                    f'damaged checkpoint left out: {line}; resuming from {path}',
                    'current',
                    logging.WARNING,
                )
            return path
        faults.append(f'{path} ({fault})')
    if faults:
        raise UserError(
            'cannot resume, no checkpoint is whole: '
            + ', '.join(faults)
            + '. Start anew without --resume, or give the path of another '
            'checkpoint to --resume'
        )
    return None


def _unnumbered(file: str | Path) -> str:
    return re.sub(r'\d+', '#', Path(file).name)


def read_mapped(checkpoint: str | Path) -> dict:
    """A run's checkpoint, of which only what is looked at is read."""
    # As mmengine reads what it resumes from: from torch 2.6 on, weights_only.
    # Files from before torch 1.6 are no archives, and cannot be mapped.
    archive = zipfile.is_zipfile(checkpoint)
    return load(str(checkpoint), map_location='cpu', mmap=archive or None)


def read_seed(checkpoint: str) -> int | None:
    """The seed of the run that wrote a checkpoint, None if it has none."""
    return read_mapped(checkpoint)['meta'].get('seed')
