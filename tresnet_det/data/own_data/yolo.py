"""YOLO's format: one text file an image, a line an object, in fractions.

Ultralytics', Roboflow's and CVAT's exports of it, and Darknet's own.
"""

from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from ...common.errors import UserError, some
from .found import Box, Found, Picture
from .libraries import supervision
from .text_files import lines_of, text_of_file
from .tree import Tree, split_of

__all__ = ['label_files', 'names_file', 'read_yolo']

_OBJECTS = {'labels', 'obj_train_data', 'obj_valid_data', 'obj_test_data'}
_ROOM = 0.01  # beyond the image, of rounding


def names_file(tree: Tree) -> Path | None:
    """The file with the names of the classes: data.yaml, obj.names, classes.txt.

    Raises:
        UserError: There are several.
    """
    yamls = [f for f in tree.with_suffix('.yaml', '.yml') if 'names' in _yaml(f)]
    plain = [
        f
        for f in tree.others
        if f.suffix.lower() == '.names' or f.name.lower() in ('classes.txt',)
    ]
    texts = {f: text_of_file(f) for f in yamls or plain}
    if len({*texts.values()}) > 1:
        raise UserError(
            f'{tree.root} has several files with names of classes: '
            f'{some(str(tree.relative(f)) for f in texts)}. Give a folder with one'
        )
    return next(iter(texts), None)


def label_files(tree: Tree) -> list[Path]:
    """The text files that hold objects."""
    stems = {image.stem for image in tree.images}
    return [
        f
        for f in tree.with_suffix('.txt')
        if f.name.lower() != 'classes.txt'
        and not f.name.lower().startswith('readme')
        and 'ImageSets' not in f.parts
        and (_OBJECTS & {*tree.relative(f).parts[:-1]} or f.stem in stems)
    ]


def read_yolo(files: list[Path], tree: Tree) -> Found:
    """Reads the boxes of all files. Images without a file have no objects.

    Fractions refer to the image as it is seen, turned as its EXIF says: so
    Ultralytics reads them.

    Args:
        files: See ``label_files``.
        tree: Of the source.

    Raises:
        UserError: A file has a fault, or nothing names the classes.
    """
    found = Found('YOLO')
    named = names_file(tree)
    if named is None:
        raise UserError(
            f'{tree.root} looks like YOLO data, and nothing names the classes: put a '
            'data.yaml (names: [first, second]) or a classes.txt, one name a line, '
            'beside the labels in a copy of the source'
        )
    content = _yaml(named) if named.suffix.lower() in ('.yaml', '.yml') else {}
    found.classes = _names(named, content)
    keypoints = content.get('kpt_shape') or [0, 0]
    if not (isinstance(keypoints, list) and [*map(type, keypoints)] == [int, int]):
        raise UserError(
            f'kpt_shape in {named} is {keypoints!r}, expected [number of points, '
            '2 or 3]'
        )
    listed = _listed(tree, named, content)
    labelled: dict[Path, Path] = {}
    for file in files:
        split = split_of(tree.relative(file).parent)
        image = tree.image(_beside(tree.relative(file)), file, split)
        if image is None:
            found.lost.append(f'the image of {tree.relative(file)}')
            continue
        if image in labelled:
            raise UserError(
                f'{file} and {labelled[image]} are both labels of {image}. Leave '
                'only one of them there'
            )
        labelled[image] = file
    for image in tree.images:
        label = labelled.get(image)
        lines = lines_of(label) if label else []
        found.changes['images have no label file: without objects'] += label is None
        found.pictures.append(
            Picture(
                image,
                _boxes(lines, label, found, keypoints[0] * keypoints[1])
                if label and lines
                else [],
                None,
                listed.get(image) or split_of(tree.relative(image).parent),
                fractions=True,
            )
        )
    return found


def _boxes(lines: list[str], file: Path, found: Found, keypoints: int) -> list[Box]:
    rows = []
    for number, line in enumerate(lines, 1):
        row = line.split()
        if keypoints and len(row) == 5 + keypoints:
            row = row[:5]
            found.changes['objects had keypoints, which were left out'] += 1
        _check(row, f'{file}, line {number}', found.classes)
        found.changes['lines had a confidence, which was left out'] += len(row) == 6
        found.changes['polygons or turned boxes became the boxes around them'] += (
            len(row) > 6
        )
        rows.append(' '.join(row))
    try:
        read = supervision('yolo').yolo_annotations_to_detections(
            rows, (1, 1), with_masks=False
        )
    except ValueError as error:
        raise UserError(f'{file}: {error} Mend it or export it again') from error
    return [
        Box(found.classes[label], [x, y, x2 - x, y2 - y])
        for (x, y, x2, y2), label in zip(
            read.xyxy.astype(float).tolist(), read.class_id.tolist()
        )
    ]


def _check(row: list[str], where: str, classes: list[str]) -> None:
    """What supervision lets pass."""
    try:
        numbers = [float(value) for value in row]
    except ValueError as error:
        raise UserError(f'{where}: {error}. Expected are numbers') from error
    index, values = numbers[0], numbers[1:] if len(row) != 6 else numbers[1:5]
    if not 0 <= index < len(classes):
        raise UserError(
            f'{where}: the class {row[0]} is not there, there are 0 to '
            f'{len(classes) - 1} ({some(classes)}). Mend the line, or the names'
        )
    if values and not -_ROOM <= min(values) <= max(values) <= 1 + _ROOM:
        raise UserError(
            f'{where}: {min(values):g} to {max(values):g}, expected are fractions of '
            "the image, from 0 to 1. Pixels? Divide by the image's width and height"
        )


def _names(file: Path, content: dict) -> list[str]:
    names: Any = content.get('names') if content else lines_of(file)
    if isinstance(names, dict):
        try:
            by_index = {int(key): name for key, name in names.items()}
        except (TypeError, ValueError):
            by_index = {-1: None}
        if sorted(by_index) != list(range(len(by_index))):
            raise UserError(
                f'{file}: the keys of names are {some(map(str, names))}, expected '
                'are the numbers from 0 on, none left out'
            )
        names = [by_index[index] for index in range(len(by_index))]
    if not isinstance(names, list) or not names:
        raise UserError(f'{file}: names is {names!r}, expected is a list of names')
    texts = [str(name) for name in names]
    twice = {name for name in texts if texts.count(name) > 1}
    if twice:
        raise UserError(
            f'{file}: {some(sorted(twice))} stands there twice. One class? Then give '
            'its objects one number; else rename one'
        )
    return texts


def _yaml(file: Path) -> dict:
    try:
        content = yaml.safe_load(text_of_file(file))
    except yaml.YAMLError as error:
        line = str(error).replace('\n', ' ')
        raise UserError(f'{file} is no whole YAML file ({line})') from error
    return content if isinstance(content, dict) else {}


def _beside(label: Path) -> str:
    """The image's place, as Ultralytics looks for it, without an ending."""
    parts = list(label.with_suffix('').parts)
    for place in reversed(range(len(parts) - 1)):
        if parts[place] == 'labels':
            parts[place] = 'images'
            break
    return '/'.join([*parts[:-1], label.name.removesuffix(label.suffix)]) + '.jpg'


def _listed(tree: Tree, named: Path, content: dict) -> dict[Path, str]:
    """Image -> its split, by data.yaml or by lists of images such as train.txt."""
    splits: dict[Path, str] = {}
    entries = [
        (split, entry)
        for key, split in (('test', 'test'), ('val', 'val'), ('train', 'train'))
        for entry in _as_list(content.get(key) or content.get(f'{key}id'))
    ]
    lists = {
        f: split_of(Path(f.name))
        for f in tree.with_suffix('.txt')
        if split_of(Path(f.name)) and f not in {*label_files(tree)}
    }
    for split, entry in entries:
        name = PurePosixPath(str(entry).replace('\\', '/'))
        if name.suffix == '.txt':
            lists = {f: split if f.name == name.name else s for f, s in lists.items()}
            continue
        wanted = [part for part in name.parts if part not in ('..', '.', '/')]
        for image in tree.images:
            folders = list(tree.relative(image).parts[:-1])
            if wanted and any(
                folders[: len(folders) - cut][-len(wanted) :] == wanted
                for cut in range(len(folders))
            ):
                splits[image] = split
    for file, split in lists.items():
        for line in lines_of(file):
            found = tree.image(line, file, split)
            if found:
                splits[found] = split
    return splits


def _as_list(value: Any) -> list:
    return value if isinstance(value, list) else [value] if value else []
