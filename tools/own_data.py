"""Data of your own, from whatever tool, to a running training.

    python tools/own_data.py SOURCE OUT
    python tools/train.py OUT/config.py

SOURCE is a folder or a zip archive with COCO, Pascal VOC, YOLO, Label Studio,
labelme or CVAT annotations, as exported; Roboflow's too. It is read only. OUT gets
annotations/{train,val}.json, the images, and a config of some 25 lines.
"""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import tresnet_det  # noqa: F401  first: it says what is missing

# isort: split
from mmengine.utils import ProgressBar

from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.data.own_data import Options, make_own_data
from tresnet_det.data.own_data.config_file import FAMILIES
from tresnet_det.data.own_data.seen import BOXES_ON

MANY = 100  # steps that take long enough for a bar


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', type=Path, help='folder or zip archive; read only')
    parser.add_argument('out', type=Path, help='folder to make')
    add = parser.add_argument_group('the training').add_argument
    add('--arch', default='m', choices=('m', 'l', 'xl', 'v2_l'), help='of TResNet')
    add('--family', default='fcos', choices=FAMILIES, help='of the detector')
    add('--size', type=int, nargs=2, metavar=('W', 'H'), help='of images, at most')
    add('--epochs', type=int, help='of the training')
    add(
        '--weights',
        metavar='W',
        help='random, pretrained (downloads 126 MB when the training starts), or a '
        'file; the default is random below 1000 train images, else pretrained',
    )
    add = parser.add_argument_group('the splits').add_argument
    add('--val-share', type=float, default=0.2, help='where the source has none')
    add('--seed', type=int, default=0, help='of the drawing')
    add('--resplit', action='store_true', help='draw new splits in any case')
    add('--alike', action='store_true', help='look-alikes may be in two splits')
    add = parser.add_argument_group('the images').add_argument
    how = parser.add_mutually_exclusive_group()
    how.add_argument('--link', action='store_true', help='to the images (default)')
    how.add_argument('--copy', action='store_true', help='the images')
    add('--images', type=Path, help='where they lie, if not in SOURCE')
    add('--skip-broken', action='store_true', help='leave out what cannot be read')
    add = parser.add_argument_group('what only you can know').add_argument
    add('--only', metavar='PATTERN', help='of the annotation files take these')
    add('--merge-names', action='store_true', help='two classes of one name')
    add(
        '--any-folder',
        action='store_true',
        help='names mean images in other folders than they say',
    )
    add('--boxes-on', choices=BOXES_ON, help='where images have another size')
    return parser.parse_args()


def bar(what: str, count: int) -> Callable[[], None]:
    """A bar on a terminal for what takes long."""
    if count < MANY or not sys.stdout.isatty():
        return lambda: None
    print(f'{what}:')
    progress = ProgressBar(count)

    def step() -> None:
        progress.update()
        if progress.completed == count:
            print()

    return step


@tell_user_errors
def main() -> None:
    args = vars(parse_args())
    args.pop('link')
    source, out = args.pop('source'), args.pop('out')
    size = tuple(args.pop('size') or ()) or None
    result = make_own_data(source, out, Options(size=size, **args), bar)
    print('\n'.join(result.lines))
    print(f'\nTo train:\n    python tools/train.py {shlex.quote(str(result.config))}')


if __name__ == '__main__':
    main()
