"""Reading annotation files, wherever they lie."""

import os
import shlex
from typing import Any

from mmengine.fileio import get

from ..common.errors import UserError
from ..common.json_files import parse_json

__all__ = ['how_to_mend', 'read_annotations']


def how_to_mend(ann_file: str | os.PathLike, *options: str | os.PathLike) -> str:
    """The command that mends what needs no guess.

    Args:
        ann_file: What is to be mended.
        options: Of the command: the folder of images first.
    """
    words = [
        'python',
        'tools/check_data.py',
        os.fspath(ann_file),
        *(os.fspath(option) for option in options),
        '--mend',
        'mended.json',
    ]
    return f'To write a mended copy: {shlex.join(words)}'


def read_annotations(
    ann_file: str | os.PathLike, backend_args: dict | None = None
) -> Any:
    """The content of an annotation file.

    Args:
        ann_file: Its path.
        backend_args: MMEngine's, for files that lie elsewhere.

    Raises:
        UserError: It cannot be opened or is no JSON.
    """
    try:
        content = get(ann_file, backend_args=backend_args)
    except OSError as error:
        raise UserError(
            f'the annotation file {ann_file} cannot be read: '
            f'{error.strerror or error}. Set data_root and ann_file of the data '
            'set, or ann_file of the evaluator, in the config'
        ) from error
    return parse_json(content, ann_file, 'annotation file')
