"""A detection data set drawn by code, in COCO format, the same every time.

It exists to tell a working detector from a broken one within minutes on two
CPU cores: six classes with a shape and a usual hue each, turned by any angle,
from small to half the image, overlapping each other on backgrounds of all
colours. Category ids have gaps, as COCO's have, so that a loader that takes
an id for a label fails; hues make one fail that swaps red and blue.

What counts as the box of a partly hidden object follows COCO: the smallest
box around its visible pixels. An object is placed only where every object
stays visible enough, so that nothing is left drawn but not annotated.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from ..common.atomic import written_whole
from ..common.errors import UserError
from .coco_sets import stored_info, write_annotations

__all__ = ['CATEGORIES', 'make_demo_data']

# Category name -> id in the annotation files.
CATEGORIES = dict(circle=1, ring=2, square=4, triangle=7, star=11, cross=16)

SPLITS = ('train', 'val')
MIN_VISIBLE = 0.5  # share of an object's drawn pixels that must stay visible
MIN_PIXELS = 40  # below this the shape itself cannot be told
HUE_SPREAD = 15.0  # degrees; the classes lie 60 apart, so hues overlap
SHIFT = 4  # cv2 draws at 1/16 pixel: edges do not jump with the angle


def _regular(corners: int, inner: float = 1.0) -> np.ndarray:
    """Corners on the unit circle, every second one drawn in to ``inner``."""
    angles = np.arange(corners) * (2 * math.pi / corners)
    radii = np.where(np.arange(corners) % 2, inner, 1.0)
    return np.stack((np.cos(angles) * radii, np.sin(angles) * radii), axis=1)


def _cross(width: float = 0.36) -> np.ndarray:
    """A plus sign whose arms are ``2 * width`` wide."""
    arm = np.array([(1, -width), (1, width), (width, width)])
    turn = np.array([(0, 1), (-1, 0)])  # a quarter turn, for row vectors
    return np.concatenate([arm @ np.linalg.matrix_power(turn, k) for k in range(4)])


# Outlines in a unit circle, filled by the even-odd rule (the ring's hole).
OUTLINES: dict[str, list[np.ndarray]] = dict(
    circle=[_regular(64)],
    ring=[_regular(64), 0.55 * _regular(64)],
    square=[_regular(4)],
    triangle=[_regular(3)],
    star=[_regular(10, inner=0.42)],
    cross=[_cross()],
)


def _colour(rng: np.random.Generator, name: str) -> np.ndarray:
    """A float BGR colour near the hue of the class."""
    classes = list(OUTLINES)
    hue = 360 * classes.index(name) / len(classes) + rng.normal(0, HUE_SPREAD)
    hsv = np.array([[[hue % 360, *rng.uniform(0.5, 1, 2)]]], np.float32)
    return 255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0]


def _paint(canvas: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Blends a colour into an HxWx3 canvas by an 8-bit HxW mask."""
    alpha = mask[..., None] / 255.0
    return canvas * (1 - alpha) + colour * alpha


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Coloured clouds, grain and strokes: clutter that is none of the
    classes, float BGR (size, size, 3) in [0, 255]."""
    clouds = rng.uniform(40, 215, (rng.integers(2, 6), rng.integers(2, 6), 3))
    canvas = cv2.resize(clouds, (size, size), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(4, 10)):
        mask = np.zeros((size, size), np.uint8)
        ends = rng.integers(-size // 4, size + size // 4, (2, 2))
        cv2.line(
            mask,
            ends[0].tolist(),
            ends[1].tolist(),
            255,
            int(rng.integers(1, 4)),
            cv2.LINE_AA,
        )
        canvas = _paint(canvas, mask, rng.uniform(0, 255, 3))
    return canvas


def _outline_mask(
    rng: np.random.Generator, name: str, radius: float, size: int
) -> np.ndarray:
    """An 8-bit anti-aliased (size, size) mask of one object, placed and
    turned at random; it may reach over the border."""
    centre = rng.uniform(0.1 * size, 0.9 * size, 2)
    angle = rng.uniform(0, 2 * math.pi)
    turn = np.array(
        [(math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))]
    )
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(
        mask,
        [
            np.rint((radius * outline @ turn + centre) * 2**SHIFT).astype(np.int32)
            for outline in OUTLINES[name]
        ],
        255,
        cv2.LINE_AA,
        SHIFT,
    )
    return mask


def _draw_image(rng: np.random.Generator, size: int) -> tuple[np.ndarray, list[dict]]:
    """One picture, uint8 BGR (size, size, 3), and its COCO annotations
    without ids."""
    canvas = _background(rng, size)
    names: list[str] = []
    drawn: list[int] = []  # pixels of each object before anything hid them
    visible: list[np.ndarray] = []  # bool (size, size), lowest object first
    # Uniform in the logarithm: COCO's small, medium and large all occur.
    # The largest lies lowest, else it would hide all others.
    radii = np.exp(rng.uniform(math.log(0.06), math.log(0.55), int(rng.integers(2, 8))))
    for radius in size * np.sort(radii)[::-1]:
        name = str(rng.choice(list(OUTLINES)))
        mask = _outline_mask(rng, name, radius, size)
        inside = mask > 127
        below = [old & ~inside for old in visible]
        kept = [
            now.sum() >= max(MIN_PIXELS, MIN_VISIBLE * whole)
            for now, whole in zip(below, drawn)
        ]
        if inside.sum() < MIN_PIXELS or not all(kept):
            continue
        shading = np.linspace(-25, 25, size)[:, None, None]
        canvas = _paint(canvas, mask, _colour(rng, name) + shading)
        names.append(name)
        drawn.append(int(inside.sum()))
        visible = below + [inside]
    canvas += rng.normal(0, 8, canvas.shape)  # grain, over objects as well
    image = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)

    annotations = []
    for name, seen in zip(names, visible):
        rle = coco_mask.encode(np.asfortranarray(seen, dtype=np.uint8))
        annotations.append(
            dict(
                category_id=CATEGORIES[name],
                bbox=coco_mask.toBbox(rle).tolist(),
                area=int(seen.sum()),
                segmentation=dict(size=rle['size'], counts=rle['counts'].decode()),
                iscrowd=0,
            )
        )
    return image, annotations


def _write_split(
    root: Path,
    split: str,
    num_images: int,
    size: int,
    seed: int,
    info: dict,
    progress: Callable[[], None],
) -> None:
    """Draws one split into ``root`` (images and annotation file)."""
    folder = root / split
    folder.mkdir()
    images: list[dict] = []
    annotations: list[dict] = []
    for image_id in range(1, num_images + 1):
        # A stream of its own for each image: growing one split changes
        # neither the other split nor the images already there.
        rng = np.random.default_rng([seed, SPLITS.index(split), image_id])
        image, objects = _draw_image(rng, size)
        file_name = f'{image_id:06d}.png'
        _, data = cv2.imencode('.png', image)
        (folder / file_name).write_bytes(data.tobytes())
        images.append(dict(id=image_id, file_name=file_name, width=size, height=size))
        annotations += [
            dict(id=len(annotations) + k, image_id=image_id, **obj)
            for k, obj in enumerate(objects, start=1)
        ]
        progress()
    categories = [dict(id=i, name=name) for name, i in CATEGORIES.items()]
    write_annotations(
        root / 'annotations' / f'instances_{split}.json',
        dict(images=images, annotations=annotations, categories=categories),
        info,
    )


def make_demo_data(
    root: str | os.PathLike,
    num_train: int = 300,
    num_val: int = 50,
    size: int = 160,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> bool:
    """Draws the demo set: ``annotations/instances_{train,val}.json`` beside
    the image folders ``train`` and ``val``.

    All of it is drawn into a temporary folder beside ``root`` and renamed at
    the end: ``root`` is whole or not there. The same arguments give the same
    bytes; no image is in both splits.

    Args:
        root: Folder to make.
        num_train: Images in the train split.
        num_val: Images in the val split.
        size: Width and height of every image in pixels, at least 64.
        seed: Chooses another set of the same kind.
        progress: Called after each image.

    Returns:
        True if the set was drawn, False if ``root`` already held it.

    Raises:
        UserError: A count below 1 or a size below 64.
        FileExistsError: ``root`` holds something else.
    """
    if num_train < 1 or num_val < 1 or size < 64:
        raise UserError(
            'the demo set needs at least 1 train and 1 val image of 64 '
            f'pixels, got num_train={num_train}, num_val={num_val}, '
            f'size={size}'
        )
    root = Path(root)
    info = dict(
        description='tresnet_det demo set',
        version=1,
        seed=seed,
        num_train=num_train,
        num_val=num_val,
        size=size,
    )
    if root.exists():
        if stored_info(root / 'annotations' / 'instances_val.json') == info:
            return False
        raise FileExistsError(
            f'{root} exists and is not the demo set asked for ({info}); '
            'remove it or choose another folder'
        )
    with written_whole(root) as part:
        part.mkdir(parents=True)
        for split, num_images in zip(SPLITS, (num_train, num_val)):
            _write_split(part, split, num_images, size, seed, info, progress)
    return True
