"""YOLO's format: one text file an image, a line an object, in fractions.

Ultralytics', Roboflow's and CVAT's exports of it, and Darknet's own.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from ...common.errors import UserError, some
from .found import Box, Found, Picture
from .libraries import supervision
from .matching import Name, matched
from .text_files import lines_of, text_of_file
from .tree import IMAGES, Tree, split_of

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
    files = yamls or plain
    if len(files) > 1 and len({(*_names(f, _yaml_of(f)),) for f in files}) > 1:
        raise UserError(
            f'{tree.root} has several files with names of classes, and these differ: '
            f'{some(str(tree.relative(f)) for f in files)}. Give a folder with one'
        )
    return next(iter(files), None)


def label_files(tree: Tree) -> list[Path]:
    """The text files that hold objects."""
    return [
        f
        for f in tree.with_suffix('.txt')
        if f.name.lower() != 'classes.txt'
        and 'ImageSets' not in f.parts
        and (
            tree.has_image(f.stem)
            or _OBJECTS & {*tree.relative(f).parts[:-1]}
            and not f.name.lower().startswith('readme')
        )
    ]


def read_yolo(files: list[Path], tree: Tree) -> Found:
    """Reads the boxes of all files. Images without a file have no objects; those
    whose file is not among ``files`` are left out.

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
    content = _yaml_of(named)
    found.classes = _names(named, content)
    keypoints = _keypoints(named, content)
    listed, missing = _listed(tree, content, found)
    labels = label_files(tree)
    labelled: dict[Path, Path] = {}
    for file, match in zip(labels, matched(tree, [_name(f, tree) for f in labels])):
        image = match.file
        if image is None and file.stem not in missing and file in files:
            if any(map(_is_object, lines_of(file))) or not lines_of(file):
                missing[file.stem] = match.lost(tree, 'the image of ')
                found.doubts |= match.doubted is not None
            else:
                found.changes['text files are no labels and were passed over'] += 1
        if image is None:
            continue
        if image in labelled:
            raise UserError(
                f'{file} and {labelled[image]} are both labels of {image}. Leave '
                'only one of them there'
            )
        labelled[image] = file
    found.lost += missing.values()
    chosen = {*files}
    for image in tree.images:
        label = labelled.get(image)
        if label and label not in chosen:
            found.changes['images whose label file was not chosen were left out'] += 1
            continue
        if listed and image not in listed and not label:
            found.changes[
                'images are in no split of data.yaml or a list and were left out'
            ] += 1
            continue
        lines = lines_of(label) if label else []
        found.changes['images have no label file: without objects'] += label is None
        boxes = _boxes(lines, label, found, keypoints) if label and lines else []
        for split in sorted(listed.get(image) or {tree.split_of(image.parent)}):
            found.pictures.append(Picture(image, boxes, None, split, fractions=True))
    return found


def _keypoints(file: Path, content: dict) -> int:
    """How many numbers an object's points take."""
    shape = content.get('kpt_shape') or ['0', '0']
    if not (
        isinstance(shape, list)
        and len(shape) == 2
        and all(isinstance(v, str) and v.isdecimal() for v in shape)
    ):
        raise UserError(
            f'kpt_shape in {file} is {shape}, expected [number of points, 2 or 3]'
        )
    return int(shape[0]) * int(shape[1])


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


def _is_object(line: str) -> bool:
    try:
        return bool([float(value) for value in line.split()])
    except ValueError:
        return False


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
    if len(row) > 6 and len(row) % 2 == 0:
        raise UserError(
            f'{where}: {len(row) - 1} numbers after the class, expected are 4, 5 with '
            'a confidence, or pairs of x and y. Key points? Say so in data.yaml: '
            'kpt_shape: [number of points, 2 or 3]'
        )
    if values and not -_ROOM <= min(values) <= max(values) <= 1 + _ROOM:
        raise UserError(
            f'{where}: {min(values):g} to {max(values):g}, expected are fractions of '
            "the image, from 0 to 1. Pixels? Divide by the image's width and height"
        )


def _names(file: Path, content: dict) -> list[str]:
    names: Any = content.get('names') if content else _lines_in_order(file)
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
    if not all(isinstance(name, str) for name in names):
        raise UserError(f'{file}: names is {names!r}, expected is a list of names')
    texts = [name.strip() for name in names]
    twice = {name for name in texts if texts.count(name) > 1}
    if twice:
        raise UserError(
            f'{file}: {some(sorted(twice))} stands there twice. One class? Then give '
            'its objects one number; else rename one'
        )
    return texts


def _lines_in_order(file: Path) -> list[str]:
    """A class a line; an empty one between others would shift those after it."""
    lines = [line.strip() for line in text_of_file(file).strip().splitlines()]
    if '' in lines:
        raise UserError(
            f'{file}, line {lines.index("") + 1} is empty, and the number of a class '
            'is that of its line. Write a name there, or take the line out'
        )
    return lines


def _yaml_of(file: Path) -> dict:
    return _yaml(file) if file.suffix.lower() in ('.yaml', '.yml') else {}


def _yaml(file: Path) -> dict:
    """Its texts as they were written: a class 'no' is no False."""
    try:
        content = yaml.load(text_of_file(file), yaml.BaseLoader)  # makes texts alone
    except yaml.YAMLError as error:
        line = str(error).replace('\n', ' ')
        raise UserError(f'{file} is no whole YAML file ({line})') from error
    return content if isinstance(content, dict) else {}


def _name(label: Path, tree: Tree) -> Name:
    """The image's, where Ultralytics looks for it, without its ending."""
    parts = list(tree.relative(label).with_suffix('').parts)
    for place in reversed(range(len(parts) - 1)):
        if parts[place] == 'labels':
            parts[place] = 'images'
            break
    return Name('/'.join(parts), label, tree.split_of(label.parent))


def _listed(
    tree: Tree, content: dict, found: Found
) -> tuple[dict[Path, set[str]], dict[str, str]]:
    """What data.yaml, obj.data and lists of images such as train.txt say of splits.

    Returns:
        Image -> its splits; stem of a listed image that is not there -> in words.
    """
    labels = {*label_files(tree)}
    texts = [f for f in tree.with_suffix('.txt') if f not in labels]
    lists = {f: split for f in texts if (split := split_of(Path(f.name)))}
    depths: dict[Path, int] = {}
    listed: dict[Path, set[str]] = defaultdict(set)
    entries = [*_entries(tree, content)]
    shared = 0
    if len({name for _, name in entries}) > 1:
        shared = len(os.path.commonprefix([list(name.parts) for _, name in entries]))
    for split, name in entries:
        if name.suffix == '.txt':
            here = [f for f in texts if f.name == name.name]
            lists |= dict.fromkeys(here, split)
            there = bool(here)
        else:
            below = _below(tree, name, shared)
            for image, depth in below.items():
                if depth > depths.get(image, -1):  # a folder within another's
                    listed[image].clear()
                if depth >= depths.get(image, -1):
                    listed[image].add(split)
                    depths[image] = depth
            there = bool(below)
        found.changes[
            'folders or lists of data.yaml have no image here and were passed over'
        ] += not there
    names = [
        Name(line, f, split, listed=True)
        for f, split in lists.items()
        for line in lines_of(f)
    ]
    missing = {}
    for match in matched(tree, names):
        called, file = match.name, match.file
        if file:
            if file in depths:  # a list counts more than a folder
                listed[file].clear()
                del depths[file]
            listed[file].add(called.split)
        elif PurePosixPath(called.text).suffix.lower() in IMAGES:
            stem = PurePosixPath(called.text.replace('\\', '/')).stem
            missing[stem] = match.lost(tree, f'{called.text} of ')
            found.doubts |= match.doubted is not None
    for splits in listed.values():
        if splits == {'val', 'test'}:  # one set for both, as people write
            splits.remove('test')
    return {image: splits for image, splits in listed.items() if splits}, missing


def _entries(tree: Tree, content: dict) -> Iterator[tuple[str, PurePosixPath]]:
    """Each split and a folder or list of it, by data.yaml and Darknet's obj.data."""
    said = [content]
    for file in tree.with_suffix('.data'):
        pairs = (line.partition('=') for line in lines_of(file))
        said.append({key.strip(): value.strip() for key, _, value in pairs})
    for one in said:
        for word in ('train', 'val', 'valid', 'test'):
            entries = one.get(word) or one.get(f'{word}id') or []
            for entry in entries if isinstance(entries, list) else [entries]:
                split = split_of(PurePosixPath(word))
                yield split, PurePosixPath(str(entry).replace('\\', '/'))


def _below(tree: Tree, name: PurePosixPath, shared: int) -> dict[Path, int]:
    """Image below a folder that data.yaml names -> the depth of that folder.

    Of a whole path, maybe of another machine, the last folders count: as many as
    are found here. What names a split is not passed over.
    """
    wanted = [part for part in name.parts if part not in ('..', '.', '/')]
    whole = name.is_absolute() or PureWindowsPath(str(name)).is_absolute()
    for cut in range(len(wanted) if whole else min(len(wanted), 1)):
        # What all entries have above tells nothing: /home/dev.
        above, last = (
            name.parts[shared : len(name.parts) - len(wanted) + cut],
            wanted[cut:],
        )
        if split_of(Path(*above)) and not split_of(Path(*last)):
            break
        depths = {}
        for image in tree.images:
            folders = list(tree.folders(image))
            for depth in range(len(last), len(folders) + 1):
                if folders[depth - len(last) : depth] == last:
                    depths[image] = depth
        if depths:
            return depths
    return {}
