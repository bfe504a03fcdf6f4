"""Memory and time of TResNet beside timm's and mmdet's ResNet-50.

Prints a Markdown table: MiB kept for backward per image, and times of a
training step and of inference, as medians and as ratios to the first backbone
within the same round.  Example:

    python tools/analysis_tools/benchmark.py resnet50 timm:m m:bn m:inplace m:recompute
"""

import argparse
import platform

import tresnet_det  # noqa: F401  first: it says what is missing

# isort: split
import torch
from torch._functorch import config as functorch_config

from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.comparison.benchmark import measure

# Figures of a row, and how the table calls them.
COLUMNS = dict(
    kept='kept, MiB/image',
    kept_ratio='ratio',
    train='train, s',
    train_ratio='ratio',
    infer='inference, s',
    infer_ratio='ratio',
    peak='peak, MiB/image',
)
DTYPES = ('float32', 'float64', 'bfloat16', 'float16')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'backbones',
        nargs='*',
        default=['resnet50', 'timm:m', 'm:bn', 'm:inplace', 'm:recompute'],
        help='resnet50, timm:ARCH or ARCH:MODE; ARCH is m, l, xl or v2_l, '
        'MODE bn, inplace, recompute, both (with the first two stages computed again), '
        'cp, or deployed (folded, in inference alone); with :compiled after it, by '
        'torch.compile, with :partitioned only its choice of what to keep',
    )
    parser.add_argument(
        '--size', type=int, nargs=2, default=(320, 320), metavar=('H', 'W')
    )
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument(
        '--dtype',
        choices=DTYPES,
        default='float32',
        help='half types run under autocast',
    )
    parser.add_argument('--device', default='cpu')
    parser.add_argument(
        '--repeats',
        type=int,
        default=7,
        help='timed rounds; 0 measures the memory alone',
    )
    parser.add_argument(
        '--operators',
        action='store_true',
        help="which part of the time convolutions and norms take, by torch's profiler",
    )
    parser.add_argument(
        '--memory-budget',
        type=float,
        default=1.0,
        help="torch.compile's activation_memory_budget, 0 to 1: below 1 it computes "
        'more again (%(default)s)',
    )
    return parser.parse_args()


def cell(value: float | None) -> str:
    return '-' if value is None else f'{value:.3f}'


@tell_user_errors
def main() -> None:
    args = parse_args()
    device = torch.device(args.device)
    if args.memory_budget != 1:  # torch 2.1 knows none
        functorch_config.activation_memory_budget = args.memory_budget
    rows = measure(
        args.backbones,
        tuple(args.size),
        args.batch,
        getattr(torch, args.dtype),
        device,
        args.repeats,
        args.operators,
    )
    chip = (
        torch.cuda.get_device_name(device)
        if device.type == 'cuda'
        else f'{platform.machine()} CPU, {torch.get_num_threads()} threads'
    )
    print(
        f'{chip}, torch {torch.__version__}, {args.dtype}, batch '
        f'{args.batch} of {args.size[0]}x{args.size[1]}, '
        f'{args.repeats} rounds\n'
    )
    print(f'| {" | ".join(["backbone", "params, M", *COLUMNS.values()])} |')
    print('|---' * (2 + len(COLUMNS)) + '|')
    for row in rows:
        cells = [cell(getattr(row, name)) for name in COLUMNS]
        params = '-' if row.params is None else f'{row.params / 1e6:.2f}'
        print('|', ' | '.join([row.name, params, *cells]), '|')
    if args.operators:
        print('\n| backbone | step | convolution | batch norm | other |')
        print('|---' * 5 + '|')
    for row in rows:
        for step, part in row.shares.items():
            parts = (f'{100 * share:.1f} %' for share in part.values())
            print('|', ' | '.join([row.name, step, *parts]), '|')


if __name__ == '__main__':
    main()
