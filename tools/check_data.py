"""Checks a data set, all of it at once, and says what to do.

    python tools/check_data.py CONFIG [--report DIR]
    python tools/check_data.py train.json train/ val.json val/ [--report DIR]
    python tools/check_data.py train.json train/ --mend mended.json

Images that are in train and in val, boxes that are dropped without a word,
classes without boxes, damaged images, and all that training refuses. --mend
writes a new annotation file and lists each change; --report one page of HTML.
The exit status is 1 if there are errors, else 0.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import tresnet_det  # noqa: F401  first: it says what is missing

# isort: split
from rich.console import Console
from rich.progress import Progress

from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.common.errors import UserError
from tresnet_det.data.checking.check import check
from tresnet_det.data.checking.findings import Level
from tresnet_det.data.checking.report import check_report_folder, write_report
from tresnet_det.data.checking.splits import DataSet, named_splits, splits_of_config
from tresnet_det.data.checking.text import as_text
from tresnet_det.data.checking.writing import write_mended
from tresnet_det.data.mending import Choices


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'sources',
        nargs='+',
        type=Path,
        help='a config, or annotation files, each with its folder of images',
    )
    parser.add_argument(
        '--mend', type=Path, metavar='OUT', help='file to write (several: a folder)'
    )
    parser.add_argument('--report', type=Path, metavar='DIR', help='folder to make')
    parser.add_argument('--no-images', action='store_true', help='read no image')
    parser.add_argument(
        '--corners', action='store_true', help='the boxes are [x1, y1, x2, y2]'
    )
    parser.add_argument(
        '--merge-names', action='store_true', help='categories of one name are one'
    )
    parser.add_argument(
        '--drop', action='store_true', help='leave out entries that cannot be mended'
    )
    parser.add_argument(
        '--drop-classes', nargs='+', default=[], metavar='NAME', help='with their boxes'
    )
    return parser.parse_args()


def find_data(sources: list[Path], with_images: bool) -> DataSet:
    if sources[0].suffix != '.py':
        return named_splits(sources, with_images)
    if len(sources) > 1:
        raise UserError(f'expected a config alone, got {sources[1]} too')
    return splits_of_config(sources[0], with_images)


@tell_user_errors
def main() -> int:
    args = parse_args()
    if args.report:
        check_report_folder(args.report)
    choices = Choices(
        args.corners, args.merge_names, args.drop, tuple(args.drop_classes)
    )
    data = find_data(args.sources, not args.no_images)
    with Progress(console=Console(stderr=True)) as bar:

        def progress(what: str, steps: int) -> Callable[[], None]:
            task = bar.add_task(what, total=steps)
            return lambda: bar.advance(task)

        checked = check(data, choices, progress)
    print(as_text(checked))
    if args.report:
        print(f'written {write_report(checked, args.report)}')
    if args.mend:
        print('\n'.join(write_mended(checked, args.mend)))
    return 1 if checked.of(Level.ERROR) else 0


if __name__ == '__main__':
    sys.exit(main())
