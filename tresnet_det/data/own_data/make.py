"""From a source to a set that trains: read, check, divide, write."""

import glob
import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ...common.atomic import remove_unfinished, written_whole
from ...common.errors import UserError, some
from ..archives import members_of, unpack
from ..coco_sets import stored_info
from .config_file import config_texts
from .formats import read_source
from .seen import as_seen
from .splits import set_splits
from .tree import ANNOTATIONS, Tree
from .write import told_of, write_splits

__all__ = ['Options', 'Result', 'make_own_data']

MADE_BY = 'tools/own_data.py of tresnet_det'
Progress = Callable[[str, int], Callable[[], None]]


@dataclass(frozen=True)
class Options:
    """What a user may choose; see tools/own_data.py."""

    arch: str = 'm'
    family: str = 'fcos'
    size: tuple[int, int] | None = None
    weights: str | None = None
    epochs: int | None = None
    val_share: float = 0.2
    seed: int = 0
    resplit: bool = False
    alike: bool = False
    copy: bool = False
    images: Path | None = None
    only: str | None = None
    merge_names: bool = False
    skip_broken: bool = False
    any_folder: bool = False
    boxes_on: str | None = None


_SMALLEST = 32  # pixels, the stride of C5


@dataclass
class Result:
    """What was made.

    Attributes:
        made: False if it was there already.
        lines: What was found, changed and written, for a person.
        config: To train with.
    """

    made: bool
    lines: list[str]
    config: Path


def make_own_data(
    source: str | os.PathLike,
    out: str | os.PathLike,
    options: Options = Options(),
    progress: Progress = lambda what, count: lambda: None,
) -> Result:
    """Makes ``out`` with ``annotations/{train,val}.json``, the images in
    ``train`` and ``val``, and ``config.py``.

    All of it is made in a folder beside ``out`` and renamed at the end. The
    source is read only.

    Args:
        source: A folder or a zip archive.
        out: Folder to make; an earlier result of the same call is kept.
        options: The user's choices.
        progress: Called with what is begun and how many steps it has; what it
            returns is called after each.

    Raises:
        UserError: The source cannot be used, or ``out`` is in the way.
    """
    source, out = Path(source), Path(out)
    _check_places(source, out, options.images)
    _check_options(options)
    info = dict(
        description=MADE_BY,
        options={
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(options).items()
        },
        source=_fingerprint(source, options.images),
    )
    info = json.loads(json.dumps(info))  # as it is read again
    if _is_there(out, info):
        told = f'{out} was made so already: nothing is changed'
        return Result(False, [told], out / 'config.py')
    remove_unfinished(out.parent, glob.escape(out.name))
    with written_whole(out) as part:
        part.mkdir(parents=True)
        folder = source
        if source.is_file():
            folder = part.parent / 'unpacked'
            unpack(source, folder, progress(f'unpacking {source.name}', _size(source)))
        try:
            found = read_source(
                Tree(folder, options.only, options.images, options.any_folder),
                merge_names=options.merge_names,
            )
            as_seen(found, options.boxes_on, options.skip_broken)
        except UserError as error:  # of an archive, what it names will be gone
            raise UserError(str(error).replace(str(folder), str(source))) from error
        how_split = set_splits(
            found,
            options.val_share,
            options.seed,
            options.resplit,
            options.alike,
            lambda count: progress('looking for images that look alike', count),
        )

        def how(image: Path) -> str:
            if folder != source and image.is_relative_to(folder):
                return 'move'  # what was unpacked, never what --images names
            return 'copy' if options.copy else 'link'

        splits = write_splits(found, part, how, info, progress)
        texts = config_texts(
            part / 'annotations' / 'train.json',
            out,
            {name: split.images for name, split in splits.items()},
            found.classes,
            options.arch,
            options.family,
            options.size,
            _whole(options.weights),
            options.epochs,
        )
        for name, text in texts.items():
            (part / name).write_text(text, encoding='utf-8')
    return Result(True, told_of(found, how_split, splits), out / 'config.py')


def _whole(weights: str | None) -> str | None:
    """A file's whole path: training may be started elsewhere."""
    words = (None, 'random', 'pretrained')
    return weights if weights in words else os.path.abspath(weights)


def _size(archive: Path) -> int:
    with zipfile.ZipFile(archive) as opened:
        return sum(not member.is_dir() for member in opened.infolist())


def _check_options(options: Options) -> None:
    if not 0 < options.val_share < 1:
        raise UserError(f'val_share is {options.val_share}, expected 0 to 1')
    if options.size and min(options.size) < _SMALLEST:
        width, height = options.size
        raise UserError(
            f'size is {width} x {height}, expected at least {_SMALLEST} pixels each'
        )
    weights = options.weights
    if weights not in (None, 'random', 'pretrained') and not Path(weights).is_file():
        raise UserError(
            f'weights is {weights!r}, expected random, pretrained, or a file that is '
            'there'
        )
    if options.epochs is not None and options.epochs < 1:
        raise UserError(f'epochs is {options.epochs}, expected 1 or more')


def _check_places(source: Path, out: Path, images: Path | None) -> None:
    """OUT may not touch what is read, and a config must be readable in it."""
    if not source.exists():
        raise UserError(f'{source} is not there. Give a folder or a zip archive')
    if source.is_file() and not zipfile.is_zipfile(source):
        raise UserError(
            f'{source} is neither a folder nor a zip archive. '
            + (
                'Unpack it, and give the folder'
                if source.suffix in ('.gz', '.tar', '.tgz', '.rar', '.7z')
                else 'Give the folder that it lies in'
            )
        )
    if images is not None and not images.is_dir():
        raise UserError(f'the folder of the images {images} is not there')
    if out.name in ('', '..'):
        raise UserError(f'{out} has no name of its own. Give a folder to be made')
    here, there = source.resolve(), out.resolve()
    # MMEngine puts the folder of a config into its text between apostrophes.
    if {"'", '\\', '\n'} & {*str(out.absolute())}:
        raise UserError(
            f'{str(out.absolute())!r} has an apostrophe, a backslash or a new line in '
            'it, with which no config can be read there. Choose another folder'
        )
    if here == there or here in there.parents:
        raise UserError(
            f'{out} lies in the source {source}, which is not to be touched. Choose '
            'a folder elsewhere'
        )
    if images is not None and images.resolve() in (there, *there.parents):
        raise UserError(
            f'{out} lies in the folder of the images {images}, which is not to be '
            'touched. Choose a folder elsewhere'
        )
    if there in here.parents:
        raise UserError(f'the source {source} lies in {out}. Choose another folder')


def _is_there(out: Path, info: dict) -> bool:
    if not os.path.lexists(out):
        return False
    empty = out.is_dir() and not any(out.iterdir())
    if out.is_symlink() and (empty or not out.exists()):
        raise UserError(f'{out} is a link. Give what it leads to: {out.resolve()}')
    if not out.is_dir():
        raise UserError(f'{out} is a file. Choose a folder that is not there yet')
    if empty:
        return False
    stored = stored_info(out / 'annotations' / 'train.json')
    if not isinstance(stored, dict) or stored.get('description') != MADE_BY:
        names = some(sorted(path.name for path in out.iterdir()))
        raise UserError(
            f'{out} is there and holds something else ({names}). Choose a folder that '
            'is not there yet'
        )
    if stored == info:
        return True
    differ = (
        'another source, or the source has changed'
        if stored.get('source') != info['source']
        else 'other options: '
        + some(
            f'{k} {stored.get("options", {}).get(k)!r}, now {v!r}'
            for k, v in info['options'].items()
            if stored.get('options', {}).get(k) != v
        )
    )
    raise UserError(
        f'{out} was made from {differ}. Remove it, or choose another folder'
    )


def _fingerprint(source: Path, images: Path | None) -> str:
    """Changes when the source does: the bytes of annotations, sizes of images."""
    digest = hashlib.sha256()
    if source.is_file():
        with zipfile.ZipFile(source) as archive:
            for member in members_of(archive, source):
                digest.update(f'{member.filename} {member.CRC}\n'.encode())
        return digest.hexdigest()
    tree = Tree(source, images=images)
    for file in (*tree.images, *tree.others):
        state = str(file.stat().st_size)
        if file.suffix.lower() in ANNOTATIONS:
            state = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(os.fsencode(f'{tree.relative(file)} {state}\n'))
    return digest.hexdigest()
