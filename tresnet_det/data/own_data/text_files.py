"""Text of a source: UTF-8, or an error that names the file and the remedy."""

from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.json_files import decode_json, parse_json

__all__ = ['json_of', 'lines_of', 'text_of_file']


def text_of_file(file: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        UserError: It is in another encoding.
    """
    try:
        return file.read_bytes().decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise UserError(
            f'{file} is not in UTF-8 ({error.reason} at byte {error.start}). If it is '
            f'in the encoding of Windows: iconv -f WINDOWS-1252 -t UTF-8 {file} > '
            'plain.txt, and put plain.txt in its place in a copy of the source'
        ) from error


def lines_of(file: Path) -> list[str]:
    """The lines that are not empty, without spaces at both ends."""
    return [line.strip() for line in text_of_file(file).splitlines() if line.strip()]


def json_of(file: Path) -> tuple[Any, str]:
    """What a JSON file holds, in whatever Unicode, and its encoding.

    Raises:
        UserError: It is no whole JSON file.
    """
    content = file.read_bytes()
    try:
        return decode_json(content)
    except ValueError:
        parse_json(content, file, 'annotation file')  # says what is wrong
        raise
