"""Convert TResNet weights between formats, or say what a file holds.

    python tools/model_converters/convert_checkpoint.py --inspect IN
    python tools/model_converters/convert_checkpoint.py IN OUT --to mm|timm|official

IN is a path, timm://NAME or an http(s) address; OUT ending in .safetensors
is written in that format, any other by torch.save. No conversion is needed to
load a file here: init_cfg takes every format as it is.
"""

import argparse

from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.weights.formats import FORMATS
from tresnet_det.weights.pretrained import convert_checkpoint, open_checkpoint


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', metavar='IN', help='weights to read')
    parser.add_argument('target', metavar='OUT', nargs='?', help='file to write')
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument('--to', choices=FORMATS, help='format of OUT')
    action.add_argument(
        '--inspect', action='store_true', help='say what IN holds and write nothing'
    )
    parser.add_argument(
        '--prefix',
        help='prefix of the backbone in a file that holds '
        'more than one, e.g. teacher.backbone.',
    )
    args = parser.parse_args()
    if args.inspect == (args.target is not None):
        parser.error('OUT goes with --to, and only with it')
    return args


@tell_user_errors
def main() -> None:
    args = parse_args()
    if args.inspect:
        print(open_checkpoint(args.source, args.prefix))
    else:
        print(convert_checkpoint(args.source, args.target, args.to, args.prefix))
        print(f'written     {args.target} ({args.to})')


if __name__ == '__main__':
    main()
