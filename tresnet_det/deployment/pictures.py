"""Folders, images and videos through an exported file: pictures and COCO results.

Like the runtime it needs numpy and OpenCV alone.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from ..common.atomic import check_writable, written_whole
from ..common.errors import UserError, some
from .coco_rle import coco_rle
from .runtime import Detections, read_image

__all__ = ['Detects', 'detect_images', 'detect_video', 'draw', 'images_below']

IMAGES = frozenset(
    '.avif .bmp .gif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff '
    '.webp'.split()
)
VIDEOS = frozenset('.avi .m4v .mkv .mov .mp4 .mpeg .mpg .webm .wmv'.split())
PICTURES = 'pictures'
Progress = Callable[[Iterable, int | None], Iterable]


class Detects(Protocol):
    """What is used of a Detector."""

    classes: tuple[str, ...]

    def batch(self, images: list[np.ndarray]) -> list[Detections]: ...


def draw(image: np.ndarray, found: Detections) -> np.ndarray:
    """A copy of a BGR image with masks, boxes, class names and scores."""
    canvas = image.copy()
    size = max(image.shape[:2]) / 800  # lines that can be seen at any size
    line, scale = max(1, round(2 * size)), max(0.4, 0.5 * size)
    font = cv2.FONT_HERSHEY_SIMPLEX
    # The best on top.
    for i in reversed(range(len(found))):
        colour = _colour(int(found.class_id[i]))
        if found.mask is not None:
            pixels = canvas[found.mask[i]]
            canvas[found.mask[i]] = (pixels + np.array(colour, float)) / 2
        left, top, right, bottom = (int(round(float(v))) for v in found.xyxy[i])
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, line)
        text = f'{found.data["class_name"][i]} {found.confidence[i]:.2f}'
        (width, height), below = cv2.getTextSize(text, font, scale, line)
        x = max(0, min(left, image.shape[1] - width))
        y = top if top > height + below else top + height + below
        cv2.rectangle(canvas, (x, y - height - below), (x + width, y), colour, -1)
        where = x, y - below // 2 - 1
        cv2.putText(canvas, text, where, font, scale, (255, 255, 255), line)
    return canvas


def _colour(class_id: int) -> tuple[int, int, int]:
    """Far from those of the classes beside it, dark enough for white letters."""
    hue = int(class_id * 68.75 + 105) % 180
    blue, green, red = cv2.cvtColor(
        np.array([[[hue, 220, 170]]], np.uint8), cv2.COLOR_HSV2BGR
    )[0, 0]
    return int(blue), int(green), int(red)


def images_below(source: Path, out: Path) -> list[Path]:
    """The image, or the images in a folder and below, sorted.

    Args:
        source: File or folder.
        out: Its pictures are not taken for images of a folder above it.

    Raises:
        UserError: There is none.
    """
    if not source.is_dir():
        return [source]
    own = (out / PICTURES).resolve()
    if own == source.resolve() or own in source.resolve().parents:
        raise UserError(
            f'{source} is where the pictures would be written: name another output '
            'folder'
        )
    found = sorted(
        path
        for path in source.rglob('*')
        if path.suffix.lower() in IMAGES
        and path.is_file()
        and own not in path.resolve().parents
    )
    if not found:
        raise UserError(
            f'{source} holds no image; known are {" ".join(sorted(IMAGES))}'
        )
    return found


class _Results:
    """Detections in COCO's form, and the images and categories they mean."""

    def __init__(self, classes: tuple[str, ...], annotations: Path | None) -> None:
        self.detections: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []
        self._ids: dict[str, Any] | None = None
        self.categories = [
            dict(id=i, name=name) for i, name in enumerate(classes, start=1)
        ]
        if annotations is None:
            return
        try:
            known = json.loads(annotations.read_text(encoding='utf-8-sig'))
            ids = {one['name']: one['id'] for one in known['categories']}
            self._ids = {one['file_name']: one['id'] for one in known['images']}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f'{annotations} is no annotation file in COCO form: '
                f'{type(error).__name__} {error}'
            ) from error
        missing = [name for name in classes if name not in ids]
        if missing:
            raise UserError(
                f'{annotations} has no category {some(missing)}, which the model '
                f'finds; it has {some(ids)}'
            )
        self.categories = [dict(id=ids[name], name=name) for name in classes]

    def image_id(self, name: str) -> Any:
        """Of an image by its path below the source."""
        if self._ids is None:
            return len(self.images) + 1
        for known in (name, Path(name).name):
            if known in self._ids:
                return self._ids[known]
        raise UserError(f'{name} is not in the annotation file')

    def add(self, name: str, image: np.ndarray, found: Detections, **more: Any) -> None:
        image_id = self.image_id(name)
        height, width = image.shape[:2]
        self.images.append(
            dict(id=image_id, file_name=name, width=width, height=height, **more)
        )
        for i, box in enumerate(found.xyxy):
            left, top, right, bottom = map(float, box)
            one = dict(
                image_id=image_id,
                category_id=self.categories[found.class_id[i]]['id'],
                bbox=[left, top, right - left, bottom - top],
                score=float(found.confidence[i]),
            )
            if found.mask is not None:
                one['segmentation'] = coco_rle(found.mask[i])
            self.detections.append(one)

    def write(self, out: Path) -> None:
        images = dict(images=self.images, annotations=[], categories=self.categories)
        for name, content in (('images', images), ('detections', self.detections)):
            with written_whole(out / f'{name}.json') as part:
                part.write_text(json.dumps(content, ensure_ascii=False), 'utf-8')


def detect_images(
    detector: Detects,
    source: Path,
    out: Path,
    score_thr: float = 0.3,
    batch_size: int = 1,
    annotations: Path | None = None,
    pictures: bool = True,
    progress: Progress = lambda images, total: images,
) -> dict[str, str]:
    """Writes pictures/ and detections.json, images.json into ``out``.

    Args:
        source: Image, or folder of images.
        out: Made if need be.
        score_thr: Lowest score that is drawn; the JSON holds all.
        batch_size: Images given to the network at once.
        annotations: COCO file whose image and category ids are used; without
            one both count from 1, and images.json says which is which.
        pictures: Draw them.
        progress: Wraps the images and their number.

    Returns:
        What could not be used, by path: why.

    Raises:
        UserError: No image, an image or class is not in ``annotations``, or
            nothing can be written into ``out``.
    """
    paths = images_below(source, out)
    check_writable(out / 'detections.json')
    base = source if source.is_dir() else source.parent
    names = {path: path.relative_to(base).as_posix() for path in paths}
    results = _Results(detector.classes, annotations)
    if annotations is not None:  # before anything is computed
        by_id: dict[Any, str] = {}
        for name in names.values():
            other = by_id.setdefault(results.image_id(name), name)
            if other != name:
                raise UserError(
                    f'{other} and {name} are both image {results.image_id(name)} of '
                    f'{annotations}: give a folder with one of them'
                )
    failed: dict[str, str] = {}
    steps = iter(progress(paths, len(paths)))
    while group := list(islice(steps, batch_size)):
        images = {}
        for path in group:
            try:
                images[path] = read_image(path)
            except (UserError, OSError) as error:
                failed[str(path)] = str(error)
        for path, found in zip(images, _each(detector, list(images.values()))):
            if isinstance(found, UserError):
                failed[str(path)] = f'{path}: {found}'
                continue
            results.add(names[path], images[path], found)
            if pictures:
                drawn = draw(images[path], found[found.confidence >= score_thr])
                _write_picture(drawn, out / PICTURES / names[path])
    results.write(out)
    return failed


def _each(
    detector: Detects, images: list[np.ndarray]
) -> Iterator[Detections | UserError]:
    """Detections of each image; one that fails takes no other with it."""
    try:
        yield from detector.batch(images)
    except UserError as error:
        if len(images) == 1:
            yield error
        else:
            for image in images:
                yield from _each(detector, [image])


def _write_picture(image: np.ndarray, path: Path) -> None:
    """Under the image's own name; what OpenCV cannot write becomes a .png."""
    if not cv2.haveImageWriter(path.name):
        path = path.with_name(f'{path.name}.png')
    encoded = cv2.imencode(path.suffix, image)[1]
    with written_whole(path) as part:
        part.write_bytes(encoded.tobytes())


def detect_video(
    detector: Detects,
    source: Path,
    out: Path,
    score_thr: float = 0.3,
    progress: Progress = lambda images, total: images,
) -> None:
    """Writes pictures/NAME.mp4 and detections.json, images.json into ``out``.

    Ids of images are numbers of frames, from 1.

    Raises:
        UserError: OpenCV cannot read or write it.
    """
    os.stat(source)  # OpenCV does not say that a file is missing
    video = cv2.VideoCapture(str(source))
    try:
        ok, frame = video.read()
        if not ok:
            raise UserError(
                f'{source} cannot be read as a video: OpenCV knows no such format, '
                'or the file is damaged. Make frames of it: '
                'ffmpeg -i VIDEO frames/%06d.png'
            )
        count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        rate = video.get(cv2.CAP_PROP_FPS) or 25.0
        results = _Results(detector.classes, None)
        with written_whole(out / PICTURES / f'{source.stem}.mp4') as part:
            writer = cv2.VideoWriter(
                str(part),
                cv2.VideoWriter.fourcc(*'mp4v'),
                rate,
                (frame.shape[1], frame.shape[0]),
            )
            try:
                if not writer.isOpened():
                    raise UserError('this OpenCV cannot write mp4 videos')
                frames = _frames(video, frame)
                for frame in progress(frames, count if count > 0 else None):
                    (found,) = detector.batch([frame])
                    number = len(results.images) + 1
                    results.add(source.name, frame, found, frame=number)
                    writer.write(draw(frame, found[found.confidence >= score_thr]))
            finally:
                writer.release()
        results.write(out)
    finally:
        video.release()


def _frames(video: cv2.VideoCapture, first: np.ndarray) -> Iterator[np.ndarray]:
    ok, frame = True, first
    while ok:
        yield frame
        ok, frame = video.read()
