"""YOLO's format: one text file an image, a line an object, in fractions.

Ultralytics', Roboflow's and CVAT's exports of it, and Darknet's own.
"""

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from ...common.errors import UserError, some
from .found import Box, Found, Picture
from .libraries import supervision
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
    texts = {f: text_of_file(f) for f in yamls or plain}
    if len({*texts.values()}) > 1:
        raise UserError(
            f'{tree.root} has several files with names of classes: '
            f'{some(str(tree.relative(f)) for f in texts)}. Give a folder with one'
        )
    return next(iter(texts), None)


def label_files(tree: Tree) -> list[Path]:
    """The text files that hold objects."""
    return [
        f
        for f in tree.with_suffix('.txt')
        if f.name.lower() != 'classes.txt'
        and not f.name.lower().startswith('readme')
        and 'ImageSets' not in f.parts
        and (_OBJECTS & {*tree.relative(f).parts[:-1]} or tree.has_image(f.stem))
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
    content = _yaml(named) if named.suffix.lower() in ('.yaml', '.yml') else {}
    found.classes = _names(named, content)
    keypoints = _keypoints(named, content)
    listed, missing = _listed(tree, content, found)
    labelled: dict[Path, Path] = {}
    for file in label_files(tree):
        split = split_of(tree.relative(file).parent)
        image = tree.image(_beside(tree.relative(file)), file, split)
        if image is None and file.stem not in missing and file in files:
            if any(map(_is_object, lines_of(file))) or not lines_of(file):
                missing[file.stem] = f'the image of {tree.relative(file)}'
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
        lines = lines_of(label) if label else []
        found.changes['images have no label file: without objects'] += label is None
        found.pictures.append(
            Picture(
                image,
                _boxes(lines, label, found, keypoints) if label and lines else [],
                None,
                listed.get(image) or split_of(tree.relative(image).parent),
                fractions=True,
            )
        )
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


def _yaml(file: Path) -> dict:
    """Its texts as they were written: a class 'no' is no False."""
    try:
        content = yaml.load(text_of_file(file), yaml.BaseLoader)  # makes texts alone
    except yaml.YAMLError as error:
        line = str(error).replace('\n', ' ')
        raise UserError(f'{file} is no whole YAML file ({line})') from error
    return content if isinstance(content, dict) else {}


def _beside(label: Path) -> str:
    """The image's place, as Ultralytics looks for it, without its true ending."""
    parts = list(label.with_suffix('').parts)
    for place in reversed(range(len(parts) - 1)):
        if parts[place] == 'labels':
            parts[place] = 'images'
            break
    # a.txt, or a.png.txt: then the ending is known.
    ending = '' if Path(parts[-1]).suffix.lower() in IMAGES else '.jpg'
    return '/'.join(parts) + ending


def _listed(
    tree: Tree, content: dict, found: Found
) -> tuple[dict[Path, str], dict[str, str]]:
    """What data.yaml and lists of images such as train.txt say of the splits.

    Returns:
        Image -> its split; stem of a listed image that is not there -> in words.
    """
    labels = {*label_files(tree)}
    texts = [f for f in tree.with_suffix('.txt') if f not in labels]
    lists = {f: split for f in texts if (split := split_of(Path(f.name)))}
    splits: dict[Path, tuple[int, str]] = {}  # with the depth of the folder
    for key, split in (('test', 'test'), ('val', 'val'), ('train', 'train')):
        for entry in _as_list(content.get(key) or content.get(f'{key}id')):
            name = PurePosixPath(str(entry).replace('\\', '/'))
            if name.suffix == '.txt':
                here = [f for f in texts if f.name == name.name]
                lists |= dict.fromkeys(here, split)
                there = bool(here)
            else:
                depths = _below(tree, name)
                for image, depth in depths.items():
                    splits[image] = max((depth, split), splits.get(image, (0, '')))
                there = bool(depths)
            found.changes[
                'folders or lists of data.yaml have no image here and were passed over'
            ] += not there
    named, missing = {image: split for image, (_, split) in splits.items()}, {}
    for file, split in lists.items():
        for line in lines_of(file):
            listed = tree.image(line, file, split)
            if listed:
                named[listed] = split
            elif PurePosixPath(line).suffix.lower() in IMAGES:
                stem = PurePosixPath(line.replace('\\', '/')).stem
                missing[stem] = f'{line} of {tree.relative(file)}'
    return named, missing


def _below(tree: Tree, name: PurePosixPath) -> dict[Path, int]:
    """Image below a folder that data.yaml names -> the depth of that folder.

    Of a whole path, maybe of another machine, the last folders count: as many as
    are found here. What names a split is not passed over.
    """
    wanted = [part for part in name.parts if part not in ('..', '.', '/')]
    whole = name.is_absolute() or PureWindowsPath(str(name)).is_absolute()
    for cut in range(len(wanted) if whole else min(len(wanted), 1)):
        above, last = wanted[:cut], wanted[cut:]
        if split_of(Path(*above)) and not split_of(Path(*last)):
            break
        depths = {}
        for image in tree.images:
            folders = list(tree.relative(image).parts[:-1])
            for depth in range(len(last), len(folders) + 1):
                if folders[depth - len(last) : depth] == last:
                    depths[image] = depth
        if depths:
            return depths
    return {}


def _as_list(value: Any) -> list:
    return value if isinstance(value, list) else [value] if value else []
