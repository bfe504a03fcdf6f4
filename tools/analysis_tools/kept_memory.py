"""What a backbone keeps for backward, tensor by tensor, or how that grows.

Prints a Markdown table, equal tensors of a stage's blocks in one row:

    python tools/analysis_tools/kept_memory.py m:inplace
    python tools/analysis_tools/kept_memory.py resnet50 m:inplace --growth

--growth fits a line to the bytes, and with --repeats to the seconds of a training
step, over batches of several sizes.
"""

import argparse
from functools import partial
from itertools import product
from statistics import median

import tresnet_det  # noqa: F401  first: it says what is missing

# isort: split
import torch

from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.comparison.benchmark import (
    MIB,
    build_backbone,
    kept_bytes,
    paired_times,
    train_step,
)
from tresnet_det.comparison.kept import fit, kept_tensors, merged

SIZES = ((160, 160), (256, 192), (320, 320), (480, 640), (800, 1344))
BATCHES = (1, 2)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('backbones', nargs='+', help="as benchmark.py's")
    parser.add_argument(
        '--size', type=int, nargs=2, default=(320, 320), metavar=('H', 'W')
    )
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument('--growth', action='store_true')
    parser.add_argument(
        '--largest', type=int, help='with --growth: leave out images of more pixels'
    )
    parser.add_argument(
        '--repeats', type=int, default=0, help='with --growth: timed rounds of each'
    )
    return parser.parse_args()


def images(batch: int, size: tuple[int, int]) -> torch.Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


def print_list(name: str, batch: int, size: tuple[int, int]) -> None:
    kept = kept_tensors(build_backbone(name), images(batch, size))
    total = sum(one.bytes for one in kept)
    print(
        f'\n{name}, {size[0]}x{size[1]}: {total / batch / MIB:.1f} MiB per image '
        f'in {len(kept)} tensors\n'
    )
    print('| module | kept by | shape | number | MiB/image | share |')
    print('|---' * 6 + '|')
    shown = 0
    for row in merged(kept):
        if row.bytes < total / 500:
            break
        shown += row.bytes
        print(
            f'| {row.module} | {", ".join(row.by)} | '
            f'{"x".join(map(str, row.shape[1:]))} | {row.number} | '
            f'{row.bytes / batch / MIB:.2f} | {row.bytes / total:.1%} |'
        )
    rest = total - shown
    print(f'| the rest | | | | {rest / batch / MIB:.2f} | {rest / total:.1%} |')


def print_growth(name: str, repeats: int, largest: int | None) -> None:
    model = build_backbone(name)
    pixels, kept, seconds = [], [], []
    for size, batch in product(SIZES, BATCHES):
        if largest and size[0] * size[1] > largest:
            continue
        x = images(batch, size)
        pixels.append(batch * size[0] * size[1])
        kept.append(kept_bytes(model, x))
        if repeats:
            step = {'': partial(train_step, model, x)}
            seconds.append(median(paired_times(step, repeats, x.device)['']))
    line = fit(pixels, kept)
    cells = [f'{line.slope:.1f}', f'{line.constant / MIB:.2f}', f'{line.residual:.2%}']
    if repeats:
        line = fit(pixels, seconds)
        cells += [
            f'{line.slope * 1e6:.2f}',
            f'{line.constant * 1e3:.0f}',
            f'{line.residual:.0%}',
        ]
    print('|', ' | '.join([name, *cells]), '|')


@tell_user_errors
def main() -> None:
    args = parse_args()
    if not args.growth:
        for name in args.backbones:
            print_list(name, args.batch, tuple(args.size))
        return
    heads = ['backbone', 'bytes a pixel', 'constant, MiB', 'largest residual']
    if args.repeats:
        heads += ['us a pixel', 'constant, ms', 'largest residual']
    print('|', ' | '.join(heads), '|')
    print('|---' * len(heads) + '|')
    for name in args.backbones:
        print_growth(name, args.repeats, args.largest)


if __name__ == '__main__':
    main()
