"""Detections from an exported file, with numpy, OpenCV and onnxruntime alone.

This file needs nothing else of the package. Copy it beside the model:

    from runtime import Detector
    detector = Detector('model.onnx')
    found = detector('image.jpg', score_thr=0.3)   # or a BGR array
    found.xyxy, found.confidence, found.class_id, found.data['class_name']
    supervision.Detections(**vars(found))          # if you use supervision

    python runtime.py model.onnx image.jpg         # one JSON line an image

Images are read, resized, padded and normalised as MMDetection does it:
mmcv.imread and imrescale, mmengine's ImgDataPreprocessor.
"""

import ctypes
import hashlib
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

if __package__:
    from ..common.errors import UserError
else:  # copied on its own, or run

    class UserError(ValueError):  # type: ignore[no-redef]
        """What was given cannot be used; the message says how to mend it."""


__all__ = [
    'Detections',
    'Detector',
    'UserError',
    'checked_metadata',
    'graph_sha256',
    'parts_of',
    'paste_masks',
    'prepare',
    'read_image',
    'read_metadata',
]

KEY = 'tresnet_det'  # of the metadata in the file
FORMAT = 1
EXPORT = 'export one with tools/deployment/export.py CONFIG CHECKPOINT OUT.onnx'
_METADATA = 14  # number of metadata_props in ONNX's ModelProto
_GRAPH = 7
_MODEL_FIELDS = frozenset((*range(1, 9), _METADATA, 20, 25, 26))


@dataclass
class Detections:
    """What was found in one image, in the shapes that supervision takes.

    Attributes:
        xyxy: Left, top, right, bottom in pixels of the image, (n, 4) float32.
        confidence: Scores, the highest first, (n,) float32.
        class_id: Index into the detector's classes, (n,) int64.
        data: 'class_name', (n,) strings.
        mask: Which pixels of the image are of it, (n, H, W) bool; None where
            the file finds boxes alone.
    """

    xyxy: np.ndarray
    confidence: np.ndarray
    class_id: np.ndarray
    data: dict[str, np.ndarray] = field(default_factory=dict)
    mask: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, rows: Any) -> 'Detections':
        """The detections of a mask, a slice or a list of rows."""
        return Detections(
            self.xyxy[rows],
            self.confidence[rows],
            self.class_id[rows],
            {name: values[rows] for name, values in self.data.items()},
            None if self.mask is None else self.mask[rows],
        )


class Detector:
    """An exported detector.

    Args:
        path: The ONNX file.
        threads: Of onnxruntime; default: as many as there are cores.
        providers: Of onnxruntime, e.g. ['CUDAExecutionProvider'].

    Attributes:
        classes: Names by class_id.
        metadata: What the exporter wrote into the file.

    Raises:
        UserError: Another file, one that was changed after its export, one
            with raw outputs; or onnxruntime is missing or cannot load it.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        threads: int | None = None,
        providers: Sequence[str] = ('CPUExecutionProvider',),
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(
                f'onnxruntime cannot be imported ({error}): pip install onnxruntime'
            ) from error
        self.metadata = checked_metadata(path)
        self.classes: tuple[str, ...] = tuple(self.metadata['classes'])
        self._names = np.array([*self.classes, ''])  # '' keeps it of strings
        unknown = set(providers) - {*onnxruntime.get_available_providers()}
        if unknown:
            raise UserError(
                f'this onnxruntime has no {", ".join(sorted(unknown))}, it has '
                f'{", ".join(onnxruntime.get_available_providers())}'
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors: they are raised as well
        # Weights of their exact size, not in an arena that grows by doubling.
        options.add_session_config_entry(
            'session.use_device_allocator_for_initializers', '1'
        )
        if threads is not None:
            if threads < 1:
                raise UserError(f'threads is {threads}, expected 1 or more')
            options.intra_op_num_threads = threads
        try:
            with _large_blocks_go_back():
                self._session = onnxruntime.InferenceSession(
                    os.fspath(path), options, providers=list(providers)
                )
        # The errors of onnxruntime have no base of their own.
        except Exception as error:
            raise UserError(
                f'onnxruntime {onnxruntime.__version__} cannot load {path}: '
                f'{_first_line(error)}. A newer one may: '
                'pip install --upgrade onnxruntime'
            ) from error

        # Has a default in the file, so it is no input by onnxruntime's count.
        optional = self._session.get_overridable_initializers()
        self._takes_sizes = 'sizes' in {one.name for one in optional}
        self._outputs = ['boxes', 'scores', 'labels']
        if 'masks' in self.metadata:
            self._outputs.append('masks')

    def __call__(
        self, image: np.ndarray | str | os.PathLike, score_thr: float = 0.0
    ) -> Detections:
        """Detects in one image, see `batch`."""
        return self.batch([image], score_thr)[0]

    def batch(
        self,
        images: Sequence[np.ndarray | str | os.PathLike],
        score_thr: float = 0.0,
    ) -> list[Detections]:
        """Detects in images of any sizes, at once.

        Images of a batch are padded to the largest, as MMDetection does it,
        so a batch may give slightly other scores than each image alone.

        Args:
            images: Paths, or arrays as OpenCV reads them: (H, W, 3) BGR,
                (H, W) grey, (H, W, 4) with alpha, of uint8 or uint16.
            score_thr: Detections below it are left out; those below the
                threshold in the file are left out in any case.

        Raises:
            UserError: An image cannot be read or is no image.
        """
        arrays = [_as_bgr(image) for image in images]
        if not arrays:
            return []
        inputs, sizes = prepare(arrays, self.metadata['preprocess'])
        return [
            self._of_image(rows, size, array.shape[:2], score_thr)
            for *rows, size, array in zip(*self.run(inputs, sizes), sizes, arrays)
        ]

    def run(
        self, inputs: np.ndarray, sizes: Sequence[tuple[int, int]] | None = None
    ) -> list[np.ndarray]:
        """Boxes, scores, labels and, if it has them, masks as the file gives them.

        Args:
            inputs, sizes: What `prepare` returns. Without sizes boxes may lie in
                the padding.
        """
        feeds = {'images': inputs}
        if sizes is not None and self._takes_sizes:
            feeds['sizes'] = np.array(sizes, np.int64)[:, ::-1]  # height first
        try:
            return self._session.run(self._outputs, feeds)
        except Exception as error:
            raise UserError(
                f'onnxruntime failed on input of shape {inputs.shape}: '
                f'{_first_line(error)}'
            ) from error

    def _of_image(
        self,
        rows: Sequence[np.ndarray],
        resized: tuple[int, int],
        original: tuple[int, ...],
        score_thr: float,
    ) -> Detections:
        scores, labels = rows[1:3]
        used = (labels >= 0) & (scores >= score_thr)
        boxes, scores, labels, *masks = (values[used] for values in rows)
        width, height = resized
        factors = width / original[1], height / original[0]
        # In float32, by the two factors that MMDetection keeps.
        boxes = np.clip(boxes, 0, np.array([*resized, *resized], np.float32))
        boxes = boxes / np.array([*factors, *factors], np.float32)
        found = Detections(
            boxes, scores, labels, dict(class_name=self._names[:-1][labels])
        )
        if masks:
            threshold = self.metadata['masks']['threshold']
            found.mask = paste_masks(masks[0], boxes, original, threshold)
        smallest = self.metadata.get('test_cfg', {}).get('min_bbox_size', -1)
        if smallest < 0:
            return found
        # As MMDetection: also what the clip left without a side.
        return found[(boxes[:, 2:] - boxes[:, :2] > smallest).all(1)]


@contextmanager
def _large_blocks_go_back() -> Iterator[None]:
    """What is freed of large blocks leaves the process at once, with glibc.

    onnxruntime holds the weights two or three times while it loads them. glibc
    raises its threshold for blocks of their own when the first is freed, and
    keeps what comes after: half of the process would be free memory. At the
    end the threshold is where glibc itself would have put it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        yield
        return
    trim, mmap = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    mallopt(mmap, 1 << 20)
    try:
        yield
    finally:
        mallopt(mmap, 1 << 25)
        mallopt(trim, 1 << 26)


def read_image(path: str | os.PathLike) -> np.ndarray:
    """(H, W, 3) uint8, BGR, turned as EXIF says, as mmcv reads it.

    Raises:
        OSError: There is no such file.
        UserError: OpenCV cannot read it as an image.
    """
    content = np.fromfile(path, np.uint8)  # cv2.imread knows no umlauts everywhere
    why = 'the file is empty'
    if content.size:
        why = 'OpenCV knows no such format, or the file is damaged'
        try:
            image = cv2.imdecode(content, cv2.IMREAD_COLOR)
            if image is not None:
                return image
        except cv2.error as error:  # among others more pixels than OpenCV allows
            why = _first_line(error)
    raise UserError(f'{os.fspath(path)} cannot be read as an image: {why}')


def prepare(
    images: Sequence[np.ndarray], preprocess: dict[str, Any]
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Resizes, pads and normalises images to the input of the file.

    Args:
        images: Each (H, W, 3) uint8, BGR.
        preprocess: As in the file's metadata.

    Returns:
        (N, 3, H, W) float32, or uint8 where the file normalises; and width
        and height of each image in it, without the padding.

    Raises:
        UserError: An image so narrow that no pixel of it would be left.
    """
    resized = [_resize(image, preprocess) for image in images]
    inside, bgr_to_rgb = preprocess['inside'], preprocess['bgr_to_rgb']
    divisor = preprocess['pad_size_divisor'] or 1
    height, width = (
        -(-max(image.shape[axis] for image in resized) // divisor) * divisor
        for axis in (0, 1)
    )
    mean, std = (
        np.array(preprocess[name] or [default], np.float32).reshape(-1, 1, 1)
        for name, default in (('mean', 0), ('std', 1))
    )
    pad: Any = preprocess['pad_value']
    if inside:
        # MMDetection pads what is normalised: the nearest grey level to that.
        pad = np.clip(np.rint(mean + pad * std), 0, 255)
        pad = pad[::-1] if bgr_to_rgb else pad
    batch = np.empty(
        (len(resized), 3, height, width), np.uint8 if inside else np.float32
    )
    batch[:] = pad
    for out, image in zip(batch, resized):
        channels = image.transpose(2, 0, 1)
        if not inside:
            channels = channels[::-1] if bgr_to_rgb else channels
            channels = (channels.astype(np.float32) - mean) / std
        out[:, : image.shape[0], : image.shape[1]] = channels
    return batch, [(image.shape[1], image.shape[0]) for image in resized]


def _resize(image: np.ndarray, preprocess: dict[str, Any]) -> np.ndarray:
    height, width = image.shape[:2]
    scale = preprocess['scale']
    size = tuple(scale)
    if preprocess['keep_ratio']:  # as mmcv.rescale_size
        factor = min(max(scale) / max(height, width), min(scale) / min(height, width))
        size = int(width * factor + 0.5), int(height * factor + 0.5)
    if not all(size):
        raise UserError(
            f'an image of {width}x{height} pixels would be resized to '
            f'{size[0]}x{size[1]}: too narrow. Cut it into pieces first'
        )
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def paste_masks(
    masks: np.ndarray, boxes: np.ndarray, size: Sequence[int], threshold: float
) -> np.ndarray:
    """Masks of boxes as masks of the image, as MMDetection pastes them.

    Args:
        masks: (n, h, w) float32, probabilities within the boxes.
        boxes: (n, 4) float32, xyxy in pixels of the image.
        size: Height and width of the image.
        threshold: Lowest probability of a pixel that belongs to it.

    Returns:
        (n, H, W) bool.
    """
    out = np.zeros((len(boxes), *size), bool)
    for whole, mask, box in zip(out, masks, boxes):
        rows, columns = (
            _weights(mask.shape[axis], box[1 - axis], box[3 - axis], size[axis])
            for axis in (0, 1)
        )
        (top, down), (left, across) = rows, columns
        pixels = down @ mask @ across.T >= threshold
        whole[top : top + len(down), left : left + len(across)] = pixels
    return out


def _weights(
    count: int, low: np.float32, high: np.float32, most: int
) -> tuple[int, np.ndarray]:
    """The first pixel, and what each pixel of a line takes of each of the cells
    between low and high: bilinear, nothing from outside."""
    first = max(int(np.floor(low)) - 1, 0)
    last = min(int(np.ceil(high)) + 1, most)
    pixels = np.arange(first, max(first, last), dtype=np.float32) + np.float32(0.5)
    with np.errstate(divide='ignore', invalid='ignore'):
        place = (pixels - low) / (high - low) * 2 - 1
    place[np.isinf(place)] = 0  # of a box without a side
    place = ((place + 1) * count - 1) / 2
    away = np.abs(place[:, None] - np.arange(count, dtype=np.float32))
    return first, np.nan_to_num(np.maximum(1 - away, 0))


def _as_bgr(image: Any) -> np.ndarray:
    """(H, W, 3) uint8, BGR, from a path or from what OpenCV may have read."""
    if isinstance(image, (str, os.PathLike)):
        return read_image(image)
    if not isinstance(image, np.ndarray):
        raise UserError(
            f'an image is a {type(image).__name__}, expected a path or a numpy '
            'array (H, W, 3) in BGR order. From Pillow: '
            "numpy.asarray(image.convert('RGB'))[..., ::-1]"
        )
    shape = image.shape
    if (
        image.dtype not in (np.uint8, np.uint16)
        or len(shape) not in (2, 3)
        or (*shape, 1)[2] not in (1, 3, 4)
        or not image.size
    ):
        raise UserError(
            f'an image is an array of {image.dtype} and shape {shape}, expected '
            'uint8 (or uint16) and (H, W, 3) in BGR order, (H, W) or (H, W, 4)'
        )
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)  # as OpenCV reads PNG
    if len(shape) == 2 or shape[2] == 1:
        image = image.reshape(*shape[:2], 1).repeat(3, 2)
    return np.ascontiguousarray(image[..., :3])


def read_metadata(path: str | os.PathLike) -> dict[str, Any]:
    """What the exporter wrote into a file; its graph is not checked.

    Raises:
        UserError: No ONNX file, or one of another program.
    """
    return _scan(path)[0]


def graph_sha256(path: str | os.PathLike) -> str:
    """Digest of all of an ONNX file but its metadata.

    Equal to the sha256 of onnx.ModelProto.SerializeToString() with
    metadata_props cleared.
    """
    return _scan(path, need_metadata=False)[1]


def checked_metadata(path: str | os.PathLike) -> dict[str, Any]:
    """What the exporter wrote into a file that this runtime can use.

    Raises:
        UserError: Another file, one that was changed after its export, or one
            with raw outputs.
    """
    metadata, digest = _scan(path)
    if metadata.get('format') != FORMAT:
        raise UserError(
            f'{path} is written in form {metadata.get("format")!r}, this runtime '
            f'reads form {FORMAT}: take the runtime.py of the version that '
            f'exported it ({metadata.get("versions", "unknown")}), or export it again'
        )
    if metadata.get('kind') != 'detections':
        raise UserError(
            f'{path} gives {metadata.get("kind")!r} outputs, expected detections: '
            'this file is for programs with an NMS of their own. For this '
            f'runtime {EXPORT}'
        )
    missing = {'classes', 'preprocess', 'graph_sha256'} - metadata.keys()
    if missing or metadata['graph_sha256'] != digest:
        raise UserError(
            f'{path} was changed after its export: '
            + (
                f'its metadata lack {", ".join(sorted(missing))}'
                if missing
                else f'sha256 of its graph is {digest}, the exporter wrote '
                f'{metadata["graph_sha256"]}'
            )
            + '. Copy it again, or export it again'
        )
    return metadata


def _scan(
    path: str | os.PathLike, need_metadata: bool = True
) -> tuple[dict[str, Any], str]:
    """Metadata and digest of the rest; memory for a small piece of it only."""
    digest, metadata, numbers = hashlib.sha256(), None, set()
    with open(path, 'rb') as file:
        try:
            for number, start, payload, end in _fields(file, Path(path).stat().st_size):
                if number not in _MODEL_FIELDS:
                    raise ValueError(f'field {number}')
                numbers.add(number)
                if number == _METADATA:
                    key, value = _entry(file, payload, end)
                    metadata = value if key == KEY else metadata
                else:
                    file.seek(start)
                    for position in range(start, end, 1 << 20):
                        digest.update(file.read(min(1 << 20, end - position)))
            if _GRAPH not in numbers:
                raise ValueError('it holds no graph')
        except ValueError as error:
            raise UserError(
                f'{path} is no ONNX file, or only a part of one ({error}): '
                f'copy it again, or {EXPORT}'
            ) from error
    if metadata is None:
        if need_metadata:
            raise UserError(
                f'{path} is an ONNX file of another program: it has no metadata '
                f'{KEY!r}. For this runtime {EXPORT}'
            )
        return {}, digest.hexdigest()
    try:
        parsed = json.loads(metadata)
        if not isinstance(parsed, dict):
            raise ValueError(f'{type(parsed).__name__} in place of an object')
    except ValueError as error:
        raise UserError(
            f'{path} was changed after its export: its metadata {KEY!r} are no '
            f'JSON ({error}). Copy it again, or export it again'
        ) from error
    return parsed, digest.hexdigest()


def parts_of(content: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Number, start, start of the payload and end of each protobuf field."""
    return _fields(io.BytesIO(content), len(content))


def _fields(stream: BinaryIO, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, start, start of the payload and end of each protobuf field."""
    start = stream.tell()
    while start < end:
        tag = _varint(stream)
        if tag & 7 == 2:
            length = _varint(stream)
        elif tag & 7 == 0:
            _varint(stream)
            length = 0
        else:
            raise ValueError(f'wire type {tag & 7}')
        payload = stream.tell()
        stop = payload + length
        if stop > end:
            raise ValueError(f'{stop - end} bytes are missing')
        yield tag >> 3, start, payload, stop
        stream.seek(stop)
        start = stop


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            raise ValueError('it ends too early')
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError('a number of more than 64 bits')


def _entry(file: BinaryIO, payload: int, end: int) -> tuple[str, str]:
    """Key and value of a StringStringEntryProto."""
    file.seek(payload)
    content = file.read(end - payload)
    parts = {1: '', 2: ''}
    for number, _, first, last in parts_of(content):
        parts[number] = content[first:last].decode()
    return parts[1], parts[2]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def main(arguments: Sequence[str]) -> None:
    """Prints what is found in each image, one JSON object a line."""
    if len(arguments) < 2:
        sys.exit('usage: python runtime.py MODEL.onnx IMAGE...')
    try:
        detector = Detector(arguments[0])
        for path in arguments[1:]:
            found = detector(path)
            print(
                json.dumps(
                    dict(
                        image=path,
                        xyxy=found.xyxy.tolist(),
                        confidence=found.confidence.tolist(),
                        class_id=found.class_id.tolist(),
                        class_name=found.data['class_name'].tolist(),
                    )
                ),
                flush=True,
            )
    except (UserError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main(sys.argv[1:])
