"""Time and memory of a detector: MMDetection, torch's ways, exported files.

    python tools/deployment/latency.py CONFIG CHECKPOINT \\
        --onnx model.onnx model-fp16.onnx model-int8.onnx \\
        --beside RESNET50_CONFIG --images FOLDER --size 640 640

All are timed in one run, in turn and round by round, from the prepared input
to the boxes, each with one thread; start and memory in a new process each.
Prints a Markdown table.
"""

import argparse
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

import tresnet_det  # noqa: F401  first: it says what is missing

# isort: split
import mmdet
import torch

from tresnet_det.common.atomic import check_writable, written_whole
from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.common.errors import UserError
from tresnet_det.deployment.latency import TORCH_WAYS, Subject, measure, table
from tresnet_det.deployment.pictures import images_below

MOST = 8  # images that are kept in memory


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--onnx', nargs='+', default=[], help='exported files')
    parser.add_argument(
        '--ways',
        nargs='*',
        choices=TORCH_WAYS,
        default=['folded', 'bfloat16'],
        help='of torch, beside MMDetection itself (default: folded bfloat16); '
        'torch.compile needs a C++ compiler and minutes',
    )
    parser.add_argument(
        '--beside',
        nargs='+',
        default=[],
        metavar='CONFIG',
        help='other detectors, with random weights',
    )
    parser.add_argument('--images', type=Path, required=True, help='image or folder')
    parser.add_argument(
        '--size', type=int, nargs=2, default=(640, 640), metavar=('W', 'H')
    )
    parser.add_argument('--rounds', type=int, default=30)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--out', type=Path, help='JSON file with every round')
    return parser.parse_args()


def chip() -> str:
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.machine()


@tell_user_errors
def main() -> None:
    args = parse_args()
    if min(*args.size, args.rounds, args.threads) < 1:
        raise UserError('--size, --rounds and --threads: expected 1 or more')
    for path in (args.config, args.checkpoint, *args.onnx, *args.beside):
        os.stat(path)
    if args.out:
        check_writable(args.out)
    images = images_below(args.images, Path())[:MOST]
    subjects = [
        Subject(way, args.config, way, args.checkpoint)
        for way in dict.fromkeys(['MMDetection', *args.ways])
    ]
    subjects += [
        Subject(f'onnxruntime, {Path(path).stem}', path, 'onnxruntime')
        for path in args.onnx
    ]
    subjects += [
        Subject(f'MMDetection, {Path(path).stem}', path, 'MMDetection')
        for path in args.beside
    ]
    rows, left_out = measure(
        subjects, images, tuple(args.size), args.rounds, args.threads
    )
    try:
        from onnxruntime import __version__ as onnxruntime_version
    except ImportError:
        onnxruntime_version = 'absent'
    width, height = args.size
    print(
        f'\n{chip()}, {args.threads} of {os.cpu_count()} cores, torch '
        f'{torch.__version__}, mmdet {mmdet.__version__}, onnxruntime '
        f'{onnxruntime_version}; {len(images)} images resized to {width}x{height}, '
        f'{args.rounds} rounds; CPU ratio: median over the rounds, to '
        f'{rows[0].name}\n\n{table(rows)}'
    )
    for name, why in left_out.items():
        print(f'\nleft out: {name}: {why}')
    if args.out:
        with written_whole(args.out) as part:
            part.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == '__main__':
    main()
