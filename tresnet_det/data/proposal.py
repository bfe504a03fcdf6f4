"""Image size, levels, batch and epochs for a data set, each with its reason.

The rules are few and simple; docs/check_data.md has them in words. They are a
start: the person decides.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..environment.memory import free_ram
from .annotation_checks import check_annotations
from .annotation_files import read_annotations
from .box_table import BoxTable, box_table

__all__ = ['Boxes', 'Proposal', 'propose', 'propose_for', 'shown', 'usable_boxes']

FEW = 1000  # train images: below, FCOS starts small, from random weights
# Pixels: the stride of the finest level, C3's. A small head takes C2's if one box of
# twenty is narrower than that many cells of C3 (configs/bccd/README.md).
FINEST, FINEST_SMALL, CELLS = 8, 4, 4
COARSEST = (32, 128)  # pixels: the stride of the coarsest level, at least, at most
LARGEST = (1333, 800)  # MMDetection's size for COCO
SMALLEST = 320  # pixels of the longer side: the coarsest map then has ten cells
STEP = 32  # pixels: what images are padded to
ANCHORS = (0.5, 1.0, 2.0), 3  # RetinaNet's ratios and scales an octave
MOST_BATCH = 16  # images a step, as for COCO
ITERATIONS = 1000  # of a training, at least
EPOCHS = (12, 100)  # at least, at most
SAMPLE = 20_000  # boxes that anchors are compared with, about
GIB = 2**30
_NO_END = 1e8  # pixels
# Bytes kept for backward for each pixel of an image, float32, nothing frozen, by
# arch: 440 of FCOS's neck and head of 256 channels (measured at 320 x 320), the
# rest of the backbone (docs/measured.md).
KEPT = dict(m=1330, l=1910, xl=2360, v2_l=2500)
FIXED = 2 * GIB  # weights, gradients, momentum, libraries


class Boxes(NamedTuple):
    """What a proposal reads of the annotations.

    Attributes:
        images: (number of images, 2) widths and heights, in pixels.
        boxes: (number of boxes, 2) widths and heights, in pixels.
        image_of: (number of boxes,) the place of each box's image.
    """

    images: np.ndarray
    boxes: np.ndarray
    image_of: np.ndarray


class Proposal(NamedTuple):
    """Settings of a training.

    Attributes:
        scale: Longest and shortest side of an image, at most, in pixels.
        strides: Of the levels, in pixels.
        regress_ranges: FCOS's, for each level, in pixels.
        anchor_scale: RetinaNet's ``octave_base_scale``.
        batch_size: Images a step, on each device.
        epochs: Over the train split.
        reasons: Name of a field -> a sentence with the numbers.
    """

    scale: tuple[int, int]
    strides: tuple[int, ...]
    regress_ranges: tuple[tuple[float, float], ...]
    anchor_scale: int
    batch_size: int
    epochs: int
    reasons: dict[str, str]


def propose(
    train_json: str | os.PathLike,
    arch: str = 'm',
    memory: float | None = None,
    scale: tuple[int, int] | None = None,
    small: bool | None = None,
) -> Proposal:
    """Reads a train split and proposes.

    Args:
        train_json: COCO annotations.
        arch: Of the backbone.
        memory: Bytes at hand; None looks at the GPU, or else at the RAM.
        scale: Longest and shortest side that are asked for; None proposes.
        small: Whether training starts small, from random weights; None: with fewer
            than FEW images.

    Raises:
        UserError: The file has faults or no box to train on.
    """
    train_json = Path(train_json)
    content = read_annotations(train_json)
    check_annotations(content, train_json)
    boxes = usable_boxes(content, box_table(content))
    return propose_for(boxes, arch, memory, scale, small)


def usable_boxes(content: Mapping[str, Any], table: BoxTable) -> Boxes:
    """The boxes that training uses.

    Args:
        content: Whole COCO annotations.
        table: Of their boxes.
    """
    images = [(image['width'], image['height']) for image in content['images']]
    used = table.used()
    return Boxes(
        np.asarray(images, dtype=float).reshape(-1, 2),
        table.boxes[used, 2:],
        table.images[used],
    )


def factors(images: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """By what MMDetection's Resize, which keeps the shape, multiplies images.

    Args:
        images: (N, 2) widths and heights.
        scale: Longest and shortest side, at most.
    """
    return np.minimum(max(scale) / images.max(1), min(scale) / images.min(1))


def shown(value: object) -> str:
    """A value of a proposal as configs write it: 1e8 pixels are FCOS's way to say
    no end."""
    return repr(value).replace(repr(_NO_END), '1e8')


def sizes_at(data: Boxes, scale: tuple[float, float]) -> np.ndarray:
    """Widths and heights of the boxes at the training size, (N, 2)."""
    return data.boxes * factors(data.images, scale)[data.image_of, None]


def propose_for(
    data: Boxes,
    arch: str = 'm',
    memory: float | None = None,
    scale: tuple[int, int] | None = None,
    small: bool | None = None,
) -> Proposal:
    """Proposes for boxes that were read already.

    Args:
        data: At least one box.
        arch: Of the backbone.
        memory: Bytes at hand; None looks at the GPU, or else at the RAM.
        scale: Longest and shortest side that are asked for; None proposes.
        small: Whether training starts small, from random weights; None: with fewer
            than FEW images.
    """
    small = len(data.images) < FEW if small is None else small
    scale, why_scale = (scale, 'as asked for') if scale else _scale(data)
    sizes = sizes_at(data, scale)
    longest = sizes.max(1)
    strides, why_strides = _strides(sizes, small)
    ranges, why_ranges = _ranges(longest, strides)
    # An anchor head never begins at C2.
    anchor_scale, why_anchors = _anchor_scale(sizes, _strides(sizes, False)[0])
    batch_size, why_batch = _batch(len(data.images), scale, arch, memory)
    epochs, why_epochs = _epochs(len(data.images), batch_size)
    return Proposal(
        scale,
        strides,
        ranges,
        anchor_scale,
        batch_size,
        epochs,
        dict(
            scale=why_scale,
            strides=why_strides,
            regress_ranges=why_ranges,
            anchor_scale=why_anchors,
            batch_size=why_batch,
            epochs=why_epochs,
        ),
    )


def _scale(data: Boxes) -> tuple[tuple[int, int], str]:
    """The smallest at which nine of ten boxes are two cells wide and high."""
    long, short = np.median(data.images.max(1)), np.median(data.images.min(1))
    most = min(1.0, LARGEST[0] / long, LARGEST[1] / short)
    own = (int(long * most), int(short * most))
    wanted = 2 * FINEST

    def narrow(scale: tuple[int, int]) -> float:
        return float(np.percentile(sizes_at(data, scale).min(1), 10))

    candidates = [
        (side, math.ceil(side * short / long))
        for side in range(STEP, own[0], STEP)
        if side >= SMALLEST
    ] + [own]
    scale = next((one for one in candidates if narrow(one) >= wanted), own)
    have = narrow(scale)
    sentence = (
        f'the images are {long:.0f} x {short:.0f} (median); nine of ten boxes are '
        f'at least {narrow((int(long), int(short))):.0f} pixels there on their '
        f'shorter side, and {have:.0f} at {scale[0]} x {scale[1]}'
    )
    if have < wanted:
        return scale, (
            f'{sentence}. Wanted are {wanted}, two cells of {FINEST}, but no size is '
            f"proposed above the images' own and {LARGEST[0]} x {LARGEST[1]}. If "
            'small objects matter, cut the images into tiles'
        )
    if scale == candidates[0]:
        return scale, (
            f'{sentence}. Enough would be {wanted}, two cells of {FINEST}, but '
            f'below {SMALLEST} pixels the coarsest map has less than ten cells'
        )
    return scale, (
        f'{sentence}. This is the smallest multiple of {STEP} at which that is '
        f'{wanted} or more, two cells of {FINEST}'
    )


def _strides(sizes: np.ndarray, small: bool) -> tuple[tuple[int, ...], str]:
    """From C2 where a small head meets small boxes, to what the largest need."""
    large = float(np.percentile(sizes.max(1), 99))
    narrow = float(np.percentile(sizes.min(1), 5))
    finer = small and narrow < CELLS * FINEST
    strides = [FINEST_SMALL if finer else FINEST]
    while strides[-1] < COARSEST[0] or (
        strides[-1] < COARSEST[1] and large > 16 * strides[-1]
    ):
        strides.append(2 * strides[-1])
    sentence = ''
    if finer:
        sentence = (
            f'one box of twenty is narrower than {narrow:.1f} pixels: below '
            f'{CELLS * FINEST} a small head from random weights begins at '
            f'{FINEST_SMALL}, on C2 (neck.start_level=0, num_outs={len(strides)}). It '
            'finds them far better; a step takes a third longer. '
        )
    return tuple(strides), sentence + (
        f'99 of 100 boxes are at most {large:.0f} pixels on their longer side; '
        f'the level of stride {strides[-1]} is made for up to '
        f'{16 * strides[-1]}, 16 cells'
    )


def _ranges(
    longest: np.ndarray, strides: tuple[int, ...]
) -> tuple[tuple[tuple[float, float], ...], str]:
    """FCOS compares the distance to the furthest side: half a box in its middle."""
    half = float(np.median(longest)) / 2
    least, most = 2 * strides[0], 8 * strides[0]
    first = int(2 ** math.floor(math.log2(min(max(half, least), most))))
    ends = [first * 2**level for level in range(len(strides) - 1)]
    ranges = tuple(zip((-1, *ends), (*ends, _NO_END)))
    shares = [
        np.mean((longest / 2 > low) & (longest / 2 <= high)) for low, high in ranges
    ]
    return ranges, (
        f'half the longer side of the median box is {half:.0f} pixels: the first '
        f'range ends at {first}, a power of two from {least} to {most}, each '
        'further one at twice the last. The levels then get '
        + ', '.join(f'{share:.0%}' for share in shares)
        + ' of the boxes'
    )


def anchor_overlaps(
    sizes: np.ndarray, strides: tuple[int, ...], anchor_scale: float
) -> np.ndarray:
    """Best IoU of each box with an anchor of RetinaNet around the same middle.

    Args:
        sizes: (N, 2) widths and heights, in pixels.
        strides: Of the levels.
        anchor_scale: ``octave_base_scale``.
    """
    ratios, octaves = ANCHORS
    best = np.zeros(len(sizes))
    for stride in strides:
        for octave in range(octaves):
            edge = stride * anchor_scale * 2 ** (octave / octaves)
            for ratio in ratios:
                anchor = edge / math.sqrt(ratio), edge * math.sqrt(ratio)
                inside = np.minimum(sizes, anchor).prod(1)
                whole = sizes.prod(1) + math.prod(anchor) - inside
                best = np.maximum(best, inside / whole)
    return best


def _anchor_scale(sizes: np.ndarray, strides: tuple[int, ...]) -> tuple[int, str]:
    sizes = sizes[:: max(1, len(sizes) // SAMPLE)]  # each box has 36 to 60 anchors
    # RetinaNet's own first: it wins if all are equal.
    overlaps = {s: anchor_overlaps(sizes, strides, s) for s in (4, 3, 2, 1)}
    best = max(overlaps, key=lambda scale: float(overlaps[scale].mean()))
    shares = {scale: np.mean(iou >= 0.5) for scale, iou in overlaps.items()}
    return best, (
        f'for RetinaNet: {shares[best]:.1%} of the boxes have an anchor with an IoU '
        f'of 0.5 or more around the same middle, {overlaps[best].mean():.2f} on '
        'average; with octave_base_scale '
        + ', '.join(
            f'{scale} {share:.1%} and {overlaps[scale].mean():.2f}'
            for scale, share in shares.items()
            if scale != best
        )
    )


def _memory() -> tuple[float, str]:
    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0]), "of the GPU's memory"
    ram = free_ram()
    return (8 * GIB, 'of RAM taken for granted') if ram is None else (ram, 'of RAM')


def _batch(
    num_images: int, scale: tuple[int, int], arch: str, memory: float | None
) -> tuple[int, str]:
    at_hand, what = _memory() if memory is None else (memory, 'of memory')
    pixels = math.prod(STEP * math.ceil(side / STEP) for side in scale)
    image = KEPT[arch] * pixels
    fits = max(1, int((at_hand / 2 - FIXED) / image))
    useful = max(2, num_images // 50)
    batch = 2 ** int(math.log2(min(fits, useful, MOST_BATCH)))
    return batch, (
        f'{at_hand / GIB:.1f} GiB {what} are free; half of it, less '
        f'{FIXED / GIB:.0f} GiB for weights and libraries, is enough for {fits} '
        f'images of {scale[0]} x {scale[1]}, {image / GIB:.2f} GiB each (TResNet-'
        f'{arch.upper()}, FCOS, float32). Taken is a power of two, at most '
        f'{MOST_BATCH}, and for {num_images} images at most {useful}, so that '
        'an epoch has 50 steps'
    )


def _epochs(num_images: int, batch_size: int) -> tuple[int, str]:
    steps = math.ceil(num_images / batch_size)
    least, most = EPOCHS
    wanted = math.ceil(ITERATIONS / steps)
    epochs = min(max(wanted, least), most)
    return epochs, (
        f'an epoch has {steps} steps; about {ITERATIONS} steps would be {wanted} '
        f'epochs, at least {least} and at most {most} are taken: '
        f'{epochs * steps} steps. From random weights more epochs are better'
    )
