"""Writes mended annotation files: whole, new, and never over another file."""

import json
import os
from collections import Counter
from pathlib import Path

from ...common.atomic import written_whole
from ...common.errors import UserError
from .check import Checked
from .reading import ReadSplit

__all__ = ['write_mended']


def write_mended(checked: Checked, out: Path) -> list[str]:
    """Writes the file of a single split, or a folder with those of several.

    Args:
        checked: What was read.
        out: A file, or for several splits a folder.

    Returns:
        A line for each file: its path, and what was changed.

    Raises:
        UserError: A split has faults that are not mended, or a file is in the
            way; nothing is written then.
    """
    splits = checked.data.splits
    unread = len(splits) - len(checked.reads)
    if unread:
        raise UserError(
            f'--mend wrote nothing: {unread} of {len(splits)} annotation files could '
            'not be read, see above'
        )
    targets = _targets(checked, out)
    for read in checked.reads:
        if read.left:
            raise UserError(
                f'--mend wrote nothing: {read.split.ann_file} has '
                f'{"; ".join(read.left)}. Mend these by hand, or leave the entries '
                'out with --drop'
            )
    for _, target in targets:
        for other in splits:
            if _same(target, other.ann_file):
                raise UserError(
                    f'--mend {target} is the file that is checked: give another name'
                )
    texts = {target: json.dumps(read.mended) for read, target in targets}
    for target, text in texts.items():
        if os.path.lexists(target) and (
            not target.is_file() or target.read_bytes() != text.encode()
        ):
            raise UserError(f'{target} exists; remove it or choose another name')
    lines = []
    for read, target in targets:
        changes = ', '.join(read.changes) or 'nothing was to mend'
        if target.is_file():
            lines.append(f'{target} is there already: {changes}')
            continue
        with written_whole(target) as part:
            part.write_text(texts[target])
        lines.append(f'written {target}: {changes}')
    return lines


def _targets(checked: Checked, out: Path) -> list[tuple[ReadSplit, Path]]:
    if len(checked.reads) == 1:
        if out.is_dir():
            raise UserError(f'--mend {out} is a folder: give the name of a file')
        return [(checked.reads[0], out)]
    if out.is_file():
        raise UserError(
            f'--mend {out} is a file: {len(checked.reads)} files are to be written, '
            'give a folder'
        )
    names = Counter(read.split.ann_file.name for read in checked.reads)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise UserError(
            f'several files are named {twice[0]}: mend them one after the other'
        )
    return [(read, out / read.split.ann_file.name) for read in checked.reads]


def _same(one: Path, two: Path) -> bool:
    try:
        return one.samefile(two)
    except OSError:  # one of them is not there, or elsewhere
        return one.resolve() == two.resolve()
