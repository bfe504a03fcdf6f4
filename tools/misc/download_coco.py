"""Download COCO 2017 to the layout that the configs expect.

    python tools/misc/download_coco.py data/coco [--split val2017 annotations]

20.4 GB are downloaded, 21.4 GB remain. A download that was stopped goes on;
a second call finds everything there. Archives that were downloaded by other
means are taken from DEST.
"""

import argparse
import sys
from pathlib import Path

from rich.progress import Progress

from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.data.coco_download import ARCHIVES, BASE_URL, download_coco


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'root',
        metavar='DEST',
        type=Path,
        nargs='?',
        default='data/coco',
        help='folder (%(default)s)',
    )
    parser.add_argument(
        '--split',
        nargs='+',
        choices=ARCHIVES,
        default=list(ARCHIVES),
        metavar='NAME',
        help=f'of {", ".join(ARCHIVES)}; all if left out',
    )
    parser.add_argument(
        '--base-url', default=BASE_URL, help='of a mirror (%(default)s)'
    )
    parser.add_argument(
        '--keep-archives',
        action='store_true',
        help='do not delete them when they are unpacked',
    )
    return parser.parse_args()


@tell_user_errors
def main() -> None:
    args = parse_args()
    with Progress() as progress:
        tasks = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        try:
            download_coco(
                args.root, args.split, args.base_url, args.keep_archives, tell
            )
        except (OSError, ValueError) as error:
            progress.stop()
            sys.exit(f'error: {error}')
    for name in args.split:
        print(f'{args.root / name}: whole')


if __name__ == '__main__':
    main()
