"""Draws the demo data set.

python tools/misc/make_demo_data.py work_dirs/demo/data
"""

import argparse
from pathlib import Path

import tresnet_det  # noqa: F401  first: it says what is missing

# isort: split
from mmengine.utils import ProgressBar

from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.data.demo_data import make_demo_data


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='folder to make')
    parser.add_argument('--num-train', type=int, default=300)
    parser.add_argument('--num-val', type=int, default=50)
    parser.add_argument('--size', type=int, default=160, help='in pixels')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


@tell_user_errors
def main() -> None:
    args = parse_args()
    bar = ProgressBar(args.num_train + args.num_val)
    drawn = make_demo_data(
        args.root,
        args.num_train,
        args.num_val,
        args.size,
        args.seed,
        progress=bar.update,
    )
    print(f'\n{args.root}: ' + ('drawn' if drawn else 'was there already'))


if __name__ == '__main__':
    main()
