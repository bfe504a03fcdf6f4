"""Detects in images or a video with an exported file; needs no torch, no mm*.

    python tools/deployment/detect.py model.onnx SOURCE OUT_DIR

SOURCE is an image, a folder (and what is below it) or a video. Written are
OUT_DIR/pictures, OUT_DIR/detections.json (COCO results, all scores) and
OUT_DIR/images.json (what the ids mean).
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import without_stack  # noqa: F401

# isort: split
from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.common.errors import UserError
from tresnet_det.deployment.pictures import VIDEOS, detect_images, detect_video
from tresnet_det.deployment.runtime import Detector


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('model', type=Path, help='ONNX file of export.py')
    parser.add_argument('source', type=Path, help='image, folder or video')
    parser.add_argument('out_dir', type=Path, help='everything is written below')
    parser.add_argument(
        '--score-thr', type=float, default=0.3, help='lowest score drawn (%(default)s)'
    )
    parser.add_argument('--batch-size', type=int, default=1, help='images at once')
    parser.add_argument('--threads', type=int, help='default: all cores')
    parser.add_argument(
        '--annotations',
        type=Path,
        help='COCO file whose image and category ids detections.json uses',
    )
    parser.add_argument(
        '--no-pictures', action='store_true', help='write the JSON files alone'
    )
    return parser.parse_args()


def progress(images: Iterable, total: int | None) -> Iterable:
    """With the bar of rich or tqdm, whichever there is."""
    try:
        from rich.progress import track
    except ImportError:
        try:
            from tqdm import tqdm
        except ImportError:
            return images
        return tqdm(images, total=total, desc='detecting')
    return track(images, total=total, description='detecting')


@tell_user_errors
def main() -> None:
    args = parse_args()
    if args.batch_size < 1:
        raise UserError(f'--batch-size is {args.batch_size}, expected 1 or more')
    detector = Detector(args.model, threads=args.threads)
    failed = {}
    if args.source.suffix.lower() in VIDEOS:
        if args.annotations or args.no_pictures or args.batch_size != 1:
            raise UserError(
                '--annotations, --no-pictures and --batch-size are for images, '
                f'{args.source} is a video'
            )
        detect_video(detector, args.source, args.out_dir, args.score_thr, progress)
    else:
        failed = detect_images(
            detector,
            args.source,
            args.out_dir,
            args.score_thr,
            args.batch_size,
            args.annotations,
            not args.no_pictures,
            progress,
        )
    print(
        f'{args.out_dir}: {", ".join(sorted(p.name for p in args.out_dir.iterdir()))}'
    )
    if failed:
        told = '\n'.join(failed.values())
        sys.exit(f'error: {len(failed)} images were left out:\n{told}')


if __name__ == '__main__':
    main()
