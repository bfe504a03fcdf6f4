"""Compares an exported file with MMDetection again.

    python tools/deployment/verify.py FILE.onnx [CONFIG CHECKPOINT]

Without CONFIG and CHECKPOINT: is the file as it was verified, and what was?
"""

import argparse
import json
from pathlib import Path

import tresnet_det  # noqa: F401  registers, allows safe checkpoint classes

# isort: split
from mmengine.config import DictAction

from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.common.errors import UserError
from tresnet_det.deployment.detector import load_detector
from tresnet_det.deployment.export import verify
from tresnet_det.deployment.onnx_file import (
    check_integrity,
    load_model,
    need_packages,
)
from tresnet_det.deployment.verification import SIZES, open_session

SMALLEST = 32  # of the sides that a file takes


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('file', type=Path)
    parser.add_argument('config', type=Path, nargs='?')
    parser.add_argument('checkpoint', type=Path, nargs='?')
    parser.add_argument('--num-images', type=int, help='of the val split')
    parser.add_argument(
        '--sizes', nargs='+', metavar='HxW', help='at which maps are compared'
    )
    parser.add_argument(
        '--batches', type=int, nargs='+', default=[1], help='for each of --sizes'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value')
    args = parser.parse_args()
    if args.config and not args.checkpoint:
        parser.error('CONFIG needs CHECKPOINT')
    try:
        sizes = [tuple(map(int, size.split('x'))) for size in args.sizes or ()]
        args.shapes = [(n, h, w) for h, w in sizes for n in args.batches] or SIZES
    except ValueError:
        parser.error(f'--sizes is {args.sizes}, expected sizes such as 97x161')
    for height, width in sizes:
        if min(height, width) < SMALLEST:
            parser.error(
                f'--sizes has {height}x{width}, expected {SMALLEST}x{SMALLEST} or more'
            )
    if min(args.batches) < 1:
        parser.error(f'--batches is {args.batches}, expected 1 or more')
    if args.num_images is not None and args.num_images < 1:
        parser.error(f'--num-images is {args.num_images}, expected 1 or more')
    return args


@tell_user_errors
def main() -> None:
    args = parse_args()
    need_packages('onnx', 'onnxruntime')
    model = load_model(args.file)
    remarks = check_integrity(model, args.file)
    if args.config is None:
        open_session(model)
        print(json.dumps(remarks['verified'], indent=1))
        print(f'{args.file}: as it was verified; not compared again without CONFIG')
        return
    detector = load_detector(args.config, args.checkpoint, args.cfg_options)
    if detector.checkpoint_sha256 != remarks['checkpoint_sha256']:
        raise UserError(
            f'{args.file} was made from another checkpoint, of the sha256 '
            f'{remarks["checkpoint_sha256"]}; {args.checkpoint} has '
            f'{detector.checkpoint_sha256}'
        )
    verify(detector, model, remarks, args.num_images, args.shapes)
    print(f'{args.file}: verified')


if __name__ == '__main__':
    main()
