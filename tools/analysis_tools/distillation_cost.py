"""Time and memory of a training step with a teacher and without.

Prints a Markdown table: the student's parameters, MiB of the teacher's
weights, MiB kept for backward per image, seconds of a step as median and as
ratio within the same round.  No file of weights is needed.  Example:

    python tools/analysis_tools/distillation_cost.py \\
        configs/distillation/fcos_tresnet-m_fpn_256x192-share-0_bccd.py \\
        --size 192 256 --batch 4
"""

import argparse
import platform
from pathlib import Path

import tresnet_det  # noqa: F401  first: it says what is missing

# isort: split
import torch
from mmengine.config import Config

from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.comparison.distillation_cost import step_costs


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path)
    parser.add_argument(
        '--size', type=int, nargs=2, default=(192, 256), metavar=('H', 'W')
    )
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--device', default='cpu')
    parser.add_argument(
        '--repeats', type=int, default=7, help='timed rounds; 0 for the memory alone'
    )
    return parser.parse_args()


@tell_user_errors
def main() -> None:
    args = parse_args()
    device = torch.device(args.device)
    rows = step_costs(
        Config.fromfile(args.config), tuple(args.size), args.batch, device, args.repeats
    )
    chip = (
        torch.cuda.get_device_name(device)
        if device.type == 'cuda'
        else f'{platform.machine()} CPU, {torch.get_num_threads()} threads'
    )
    print(
        f'{chip}, torch {torch.__version__}, batch {args.batch} of '
        f'{args.size[0]}x{args.size[1]}, {args.repeats} rounds\n'
    )
    print(
        '| step | params, M | teacher, MiB | kept, MiB/image | ratio | train, s | '
        'ratio |'
    )
    print('|---' * 7 + '|')
    for row in rows:
        cells = [row.name, f'{row.params / 1e6:.2f}']
        cells += ['-' if v is None else f'{v:.3f}' for v in row[2:]]
        print('|', ' | '.join(cells), '|')


if __name__ == '__main__':
    main()
