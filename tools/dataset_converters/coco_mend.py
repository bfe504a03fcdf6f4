"""Writes a mended copy of a COCO annotation file, and says what was mended.

    python tools/dataset_converters/coco_mend.py IN.json OUT.json [--images DIR]

Mended is what needs no guess: the encoding (UTF-16, byte order mark), numbers
in quotes, missing areas, ids used twice or of another type, categories of one
name. With --images also file names with backslashes, another ending, other
capitals, or a folder too many.
"""

import argparse
import json
from pathlib import Path

from tresnet_det.common.atomic import written_whole
from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.common.errors import UserError
from tresnet_det.common.json_files import decode_json
from tresnet_det.data.annotation_checks import check_annotations
from tresnet_det.data.annotation_files import read_annotations
from tresnet_det.data.mending import mend_annotations


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', metavar='IN', type=Path, help='annotations')
    parser.add_argument('target', metavar='OUT', type=Path, help='file to write')
    parser.add_argument('--images', type=Path, help='folder of the images')
    parser.add_argument(
        '--corners', action='store_true', help='the boxes are [x1, y1, x2, y2]'
    )
    return parser.parse_args()


@tell_user_errors
def main() -> None:
    args = parse_args()
    if args.images and not args.images.is_dir():
        raise UserError(f'--images {args.images} is no folder')
    try:
        content, encoding = decode_json(args.source.read_bytes())
    except ValueError:
        read_annotations(args.source)  # says what is wrong
        raise
    try:
        done = mend_annotations(content, args.images, args.corners)
    except TypeError:  # an id that is a list or the like
        check_annotations(content, args.source)
        raise
    if encoding != 'utf-8':
        done.append(f'written in UTF-8 in place of {encoding.upper()}')
    check_annotations(content, args.source, test_mode=True)  # nothing is left
    with written_whole(args.target) as part:
        part.write_text(json.dumps(content))
    print(f'written {args.target}: ' + ('; '.join(done) or 'nothing was to mend'))


if __name__ == '__main__':
    main()
