"""Copies the first images of a COCO-format set into a set of its own.

python tools/dataset_converters/coco_subset.py ANNOTATIONS IMAGES OUT --num-images 8
"""

import argparse
from pathlib import Path

from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.data.coco_subset import make_subset


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('ann_file', type=Path, help='COCO annotations')
    parser.add_argument('image_dir', type=Path, help='where the images lie')
    parser.add_argument('root', type=Path, help='folder to make')
    parser.add_argument('--num-images', type=int, default=8)
    return parser.parse_args()


@tell_user_errors
def main() -> None:
    args = parse_args()
    make_subset(args.ann_file, args.image_dir, args.root, args.num_images)
    print(f'{args.root}: {args.num_images} images')


if __name__ == '__main__':
    main()
