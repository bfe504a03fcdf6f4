"""A static page that runs an exported file in a browser.

The page lies in one folder with everything it needs and opens from a disk
with a double click: what a browser would have to fetch, which it refuses
there, lies in scripts, as base64. onnxruntime-web comes from npm's registry.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from ..common.atomic import written_whole
from ..common.errors import UserError
from .runtime import checked_metadata, parts_of

__all__ = ['make_page', 'onnxruntime_web']

VERSION = '1.30.0'  # the newest that was tried
SHA512 = (
    'ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca'
    '590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61'
)
TARBALL = f'https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz'
API, GLUE, WASM = FILES = (
    'ort.wasm.min.js',
    'ort-wasm-simd-threaded.mjs',
    'ort-wasm-simd-threaded.wasm',
)
SOURCES = Path(__file__).parent / 'browser'
PAGE = ('index.html', 'page.css', 'page.js')
WORKER = ('preprocess.js', 'worker.js')
PIECE = 3 << 21  # bytes


def make_page(
    model: str | os.PathLike, folder: str | os.PathLike, ort: str | os.PathLike
) -> Path:
    """Makes the page, whole or not at all.

    Args:
        model: An exported file.
        folder: To make, or an earlier page to replace.
        ort: Folder with onnxruntime-web's files, or npm's .tgz of it.

    Returns:
        The page's index.html.

    Raises:
        UserError: The file is none of ours, another thing lies in the folder,
            or files of onnxruntime-web are missing.
    """
    model, folder = Path(model), Path(folder)
    metadata = checked_metadata(model)
    engine = _engine(Path(ort))
    _check_room(folder)
    content, takes_sizes = _with_sizes_required(model.read_bytes())
    with written_whole(folder) as part:
        part.mkdir()
        for name in PAGE:
            shutil.copyfile(SOURCES / name, part / name)
        code = [engine[API]]
        code += [(SOURCES / name).read_bytes() for name in WORKER]
        parts = dict(
            worker=b'\n'.join(code),
            glue=engine[GLUE],
            wasm=engine[WASM],
            model=content,
        )
        info: dict[str, Any] = dict(
            name=model.stem,
            bytes=len(parts['model']),
            classes=metadata['classes'],
            precision=metadata.get('precision', 'unknown precision'),
            preprocess=metadata['preprocess'],
            min_bbox_size=metadata.get('test_cfg', {}).get('min_bbox_size', -1),
            takes_sizes=takes_sizes,
            finds_masks='masks' in metadata,
            onnxruntime_web=_version(engine[API]),
            parts={
                name: dict(bytes=len(content), pieces=_write(part, name, content))
                for name, content in parts.items()
            },
        )
        (part / 'info.js').write_text(f'const INFO = {json.dumps(info, indent=1)};\n')
        if folder.exists():
            shutil.rmtree(folder)
    return folder / 'index.html'


def _with_sizes_required(content: bytes) -> tuple[bytes, bool]:
    """The model without the default of its input sizes, and whether it has one.

    onnxruntime-web does not take what has a default.
    """
    graph, initializer, name = 7, 5, 8  # ModelProto, GraphProto, TensorProto
    for number, start, first, last in parts_of(content):
        if number != graph:
            continue
        inside = content[first:last]
        for kind, begin, head, end in parts_of(inside):
            if kind == initializer and any(
                field == name and inside[head:end][a:b] == b'sizes'
                for field, _, a, b in parts_of(inside[head:end])
            ):
                inside = inside[:begin] + inside[end:]
                tag = content[start : start + 1]
                length = _varint_of(len(inside))
                whole = content[:start] + tag + length + inside + content[last:]
                return whole, True
    return content, False


def _varint_of(value: int) -> bytes:
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def _write(folder: Path, name: str, content: bytes) -> list[str]:
    """Writes scripts that call PIECE with a piece each; their paths."""
    paths = []
    (folder / 'pieces').mkdir(exist_ok=True)
    for start in range(0, len(content), PIECE):
        text = base64.b64encode(content[start : start + PIECE]).decode()
        paths.append(f'pieces/{name}-{start // PIECE:03}.js')
        (folder / paths[-1]).write_text(f'PIECE("{text}");\n')
    return paths


def _check_room(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f'{folder} is a file, expected a folder to make')
    found = {path.name for path in folder.iterdir()}
    if found and found != {*PAGE, 'info.js', 'pieces'}:
        raise UserError(
            f'{folder} is there already and is no page of an earlier run: name '
            'another folder, or delete it'
        )


def _version(api: bytes) -> str:
    found = re.search(rb'ONNX Runtime Web v(\S+)', api[:1000])
    return found[1].decode() if found else 'of unknown version'


def _engine(ort: Path) -> dict[str, bytes]:
    """The files of onnxruntime-web by name."""
    if ort.is_file():
        try:
            with tarfile.open(ort) as tar:
                members = (tar.extractfile(f'package/dist/{name}') for name in FILES)
                return {
                    name: member.read()
                    for name, member in zip(FILES, members)
                    if member is not None
                }
        except (tarfile.TarError, KeyError, EOFError, OSError) as error:
            raise UserError(
                f"{ort} is no package of onnxruntime-web ({error}): expected npm's "
                f'.tgz, e.g. {TARBALL}, or a folder with {", ".join(FILES)}'
            ) from error
    below = ('', 'dist', 'package/dist', 'node_modules/onnxruntime-web/dist')
    for folder in (ort / name for name in below):
        if all((folder / name).is_file() for name in FILES):
            return {name: (folder / name).read_bytes() for name in FILES}
    raise UserError(
        f'{ort} holds no onnxruntime-web: expected {", ".join(FILES)} in it or in its '
        f'dist. Make one with: npm pack onnxruntime-web@{VERSION}'
    )


def cached() -> Path:
    """Folder of the user's cache for onnxruntime-web."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base, 'tresnet_det', f'onnxruntime-web-{VERSION}')


def sha512(path: Path) -> str:
    return hashlib.sha512(path.read_bytes()).hexdigest()


def onnxruntime_web() -> Path:
    """Folder of the user's cache with onnxruntime-web, downloaded if need be.

    Raises:
        UserError: npm is missing or cannot download it, or what came is not
            what was tried.
    """
    folder = cached()
    if folder.exists():
        return folder
    otherwise = f'Or download {TARBALL} by other means and give its path with --ort-dir'
    npm = shutil.which('npm')
    if npm is None:
        raise UserError(f'npm is not installed: install Node.js. {otherwise}')
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [npm, 'pack', '--silent', f'onnxruntime-web@{VERSION}'],
            cwd=scratch,
            capture_output=True,
            text=True,
        )
        tarball = Path(scratch, TARBALL.rpartition('/')[2])
        if done.returncode or not tarball.exists():
            last = (done.stderr.strip() or 'no reason given').splitlines()[-1]
            raise UserError(f'npm cannot download onnxruntime-web: {last}. {otherwise}')
        if sha512(tarball) != SHA512:
            raise UserError(
                f'npm downloaded another onnxruntime-web {VERSION}: its sha512 is '
                f'{sha512(tarball)}, expected {SHA512}. {otherwise}'
            )
        engine = _engine(tarball)
    with written_whole(folder) as part:
        part.mkdir()
        for name, content in engine.items():
            (part / name).write_bytes(content)
    return folder
