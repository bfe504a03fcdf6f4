"""How long tools/check_data.py takes for annotations of COCO's size, without images.

    python tests/trials/check_large.py [--faults SHARE]

Annotations of two sizes are made from a fixed seed, the second twice the first, and
checked by the command as a user calls it. Printed are the seconds, and those of the
processor, which others on the machine disturb less; and what the larger takes by the
smaller, the start with its imports left out: 2 is linear.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
SIZES = (59_000, 430_000), (118_000, 860_000)  # images, boxes: half of COCO, all
CLASSES = 80


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--faults',
        type=float,
        default=0,
        metavar='SHARE',
        help='of boxes in quotes; as many ids that stand twice, boxes that stand '
        'twice, and boxes outside their image; at most 0.25',
    )
    return parser.parse_args()


def annotations(num_images: int, num_boxes: int, faults: float) -> dict:
    """COCO annotations with sizes of images and boxes like COCO's."""
    rng = np.random.default_rng(0)
    images = [
        dict(id=k, file_name=f'{k:012d}.jpg', width=w, height=h)
        for k, (w, h) in enumerate(
            rng.choice([(640, 480), (480, 640), (640, 427)], num_images).tolist(), 1
        )
    ]
    boxes = []
    places = rng.integers(0, num_images, num_boxes).tolist()
    labels = rng.integers(1, CLASSES + 1, num_boxes).tolist()
    shares = rng.random((num_boxes, 4)).round(4).tolist()
    for number, (place, label, (x, y, w, h)) in enumerate(
        zip(places, labels, shares), 1
    ):
        image = images[place]
        w, h = (
            4 + (side - 4) * s**3
            for side, s in ((image['width'], w), (image['height'], h))
        )
        bbox = [x * (image['width'] - w), y * (image['height'] - h), w, h]
        bbox = [round(value, 2) for value in bbox]
        boxes.append(
            dict(
                id=number,
                image_id=image['id'],
                category_id=label,
                bbox=bbox,
                area=bbox[2] * bbox[3],
                iscrowd=0,
            )
        )
    for place in range(0, int(4 * faults * num_boxes), 4):
        boxes[place]['bbox'] = [*map(str, boxes[place]['bbox'])]
        boxes[place + 1]['id'] = place + 1
        boxes[place + 2] = dict(boxes[place + 3], id=place + 3)
        boxes[place + 1]['bbox'][0] += 1000
    categories = [dict(id=k, name=f'class {k}') for k in range(1, CLASSES + 1)]
    return dict(images=images, annotations=boxes, categories=categories)


def seconds(file: Path) -> tuple[float, float]:
    """Of the command: by the clock, and of the processor."""
    command = [sys.executable, 'tools/check_data.py', str(file)]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    took, after = (
        time.perf_counter() - start,
        resource.getrusage(resource.RUSAGE_CHILDREN),
    )
    assert done.returncode in (0, 1), done.stderr
    print(done.stdout.splitlines()[0].partition(', ')[2], flush=True)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f'  {took:.1f} s, {cpu:.1f} s of the processor', flush=True)
    return took, cpu


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'train.json')
        file.write_text(json.dumps(annotations(2, 10, 0)))
        seconds(file)  # the first call fills caches of files
        start = seconds(file)
        took = []
        for num_images, num_boxes in SIZES:
            file.write_text(json.dumps(annotations(num_images, num_boxes, args.faults)))
            took.append(seconds(file))
        ratios = [
            (large - begin) / (small - begin)
            for small, large, begin in zip(*took, start)
        ]
        print(f'ratio {ratios[0]:.2f}, of the processor {ratios[1]:.2f}')


if __name__ == '__main__':
    main()
