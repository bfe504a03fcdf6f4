"""Writes a detector as one file, after comparing it with MMDetection.

    python tools/deployment/export.py CONFIG CHECKPOINT OUT.onnx

FCOS, RetinaNet, ATSS, GFL, Faster and Mask R-CNN with any backbone and neck.
The file has backbone, neck, heads, decoding and NMS, and takes any number of
images of any size from 32x32 on. It gets its name only if it finds what
MMDetection finds.
"""

import argparse
from pathlib import Path

import tresnet_det  # noqa: F401  registers, allows safe checkpoint classes

# isort: split
from mmengine.config import DictAction

from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.deployment.detector import load_detector
from tresnet_det.deployment.export import (
    PRECISIONS,
    check_output,
    export_onnx,
    export_program,
)
from tresnet_det.deployment.onnx_file import need_packages


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path)
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('out', type=Path, help='.onnx, or .pt2 for torch-export')
    parser.add_argument('--format', choices=('onnx', 'torch-export'), default='onnx')
    parser.add_argument('--precision', choices=PRECISIONS, default='fp32')
    parser.add_argument(
        '--raw', action='store_true', help='outputs before NMS, of all points'
    )
    parser.add_argument(
        '--preprocess',
        action='store_true',
        help='input uint8 in BGR order, normalised inside the file',
    )
    parser.add_argument(
        '--num-images',
        type=int,
        help='of the val split to compare (default: all)',
    )
    parser.add_argument(
        '--num-calibration',
        type=int,
        default=64,
        help='images of the train split for int8 (%(default)s)',
    )
    parser.add_argument(
        '--tolerance',
        type=float,
        help='how far each COCO figure may be off (default: 0.00005 in fp32, '
        '0.001 in fp16, 0.005 in int8); it is written into the file',
    )
    parser.add_argument(
        '--float32',
        nargs='+',
        default=[],
        metavar='MODULE',
        help='what int8 leaves in float32 besides: neck, head, backbone.stages.3; '
        'nearer to MMDetection, larger and slower',
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value')
    args = parser.parse_args()
    if args.format == 'torch-export' and args.precision != 'fp32':
        parser.error('--format torch-export is written in fp32 only')
    if args.float32 and args.precision != 'int8':
        parser.error(f'--float32 is for --precision int8, not {args.precision}')
    for name in ('num_images', 'num_calibration'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} is {value}, expected 1 or more')
    if args.tolerance is not None and not args.tolerance >= 0:  # NaN too
        parser.error(f'--tolerance is {args.tolerance}, expected 0 or more')
    return args


@tell_user_errors
def main() -> None:
    args = parse_args()
    check_output(args.out, '.onnx' if args.format == 'onnx' else '.pt2')
    if args.format == 'onnx':
        need_packages('onnx', 'onnxscript', 'onnxruntime')
    detector = load_detector(args.config, args.checkpoint, args.cfg_options)
    if args.format == 'onnx':
        export_onnx(
            detector,
            args.out,
            args.precision,
            args.raw,
            args.preprocess,
            args.num_images,
            args.num_calibration,
            args.tolerance,
            float32=args.float32,
        )
    else:
        export_program(detector, args.out, args.raw, args.preprocess)
    print(f'{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, verified')


if __name__ == '__main__':
    main()
