"""JSON files that people and tools wrote, with errors that help."""

import json
import os
from pathlib import Path
from typing import Any

from .errors import UserError

__all__ = ['decode_json', 'parse_json', 'read_json']

# What a file begins with that is no JSON, and what helps.
_OTHERS = {
    b'\x1f\x8b': 'a gzip archive: unpack it with gunzip',
    b'PK\x03\x04': 'a zip archive: unpack it with unzip',
    b'\x80': 'a pickle (.pkl) in truth, not JSON: give the .json file',
    b'version https://git-lfs': 'a pointer of Git LFS: get the file with git lfs pull',
    b'<': 'a web page or XML: download the file again, or convert it to COCO',
}

# As iconv has them, where that is another than Python's.
_NAMES = {
    'utf-8-sig': 'UTF-8',
    **{f'utf-{n}-{e}': f'UTF-{n}{e.upper()}' for n in (16, 32) for e in ('le', 'be')},
}


def decode_json(content: bytes) -> tuple[Any, str]:
    """What a JSON file holds, and its encoding.

    Raises:
        ValueError: It is no whole JSON file in Unicode.
    """
    encoding = json.detect_encoding(content)
    try:
        return json.loads(content.decode(encoding)), encoding
    except RecursionError as error:
        raise ValueError('it is nested too deeply') from error


def parse_json(content: bytes, file: str | os.PathLike, what: str) -> Any:
    """The content of a JSON file in UTF-8, as pycocotools reads them.

    Args:
        content: Its bytes.
        file: Its path, for the messages.
        what: It is, likewise.

    Raises:
        UserError: It is no whole JSON file, or of another encoding.
    """
    try:
        value, encoding = decode_json(content)
    except ValueError as error:
        raise UserError(
            f'the {what} {file} is no whole JSON file ({error}); '
            + _why_no_json(content, file)
        ) from error
    if encoding != 'utf-8':
        mark = 'a byte order mark' if encoding == 'utf-8-sig' else encoding.upper()
        raise UserError(
            f'the {what} {file} is whole, but written with {mark}, as programs '
            'of Windows do; pycocotools reads plain UTF-8. To write it so: '
            f'iconv -f {_NAMES.get(encoding, encoding.upper())} -t UTF-8 {file}'
            + (" | sed '1s/^\\xEF\\xBB\\xBF//'" if encoding == 'utf-8-sig' else '')
            + ' > plain.json'
        )
    return value


def read_json(file: str | os.PathLike, what: str, remedy: str) -> Any:
    """Reads a JSON file of this machine, see ``parse_json``.

    Args:
        file: Its path.
        what: It is, for the messages.
        remedy: If it cannot be opened.

    Raises:
        UserError: It cannot be opened, is no JSON or of another encoding.
    """
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise UserError(
            f'the {what} {file} cannot be read: {error.strerror or error}. {remedy}'
        ) from error
    return parse_json(content, file, what)


def _why_no_json(content: bytes, file: str | os.PathLike) -> str:
    if not content.strip():
        return 'it is empty. Copy or write it again'
    for begin, truth in _OTHERS.items():
        if content.startswith(begin):
            return f'it is {truth}'
    try:
        content.decode()
    except UnicodeDecodeError as error:
        if error.reason == 'unexpected end of data':
            return 'it is cut short. Copy or write it again'
        if content.lstrip()[:1] in (b'{', b'['):
            return (
                'it is not in UTF-8. If it is in the encoding of Windows: '
                f'iconv -f WINDOWS-1252 -t UTF-8 {file} > plain.json'
            )
        return 'it is binary. Give a file of JSON'
    if content.lstrip()[:1] not in (b'{', b'['):
        return f'it begins with {content.lstrip()[:12]!r}. Give a file of JSON'
    return 'it may be cut short. Copy or write it again'
