"""Trains for thousands of iterations and says whether anything grows.

    python tests/trials/long_run.py

FCOS with a small TResNet and in-place norms on images of 64 x 64, on the CPU.
The data loader's process ends and starts again with every epoch. Printed are
what the process holds at the first iteration asked for and at the last, and
the slopes over the last two thirds of the run. The exit status is 1 if open
files, tensors, or what is allocated beside mmengine's log grow.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import tresnet_det  # noqa: F401  first: it says what is missing

# isort: split
from mmengine.config import Config
from mmengine.registry import RUNNERS
from usage import LIMITS, UsageHook, growing

from tresnet_det.data.demo_data import make_demo_data

CONFIG = (
    Path(__file__).resolve().parents[2]
    / 'configs'
    / 'demo'
    / 'fcos_tresnet-m_fpn_demo.py'
)
BATCH = 2


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--epochs', type=int, default=75)
    parser.add_argument(
        '--images',
        type=int,
        default=80,
        help=f'images an epoch, {BATCH} an iteration (%(default)s)',
    )
    parser.add_argument(
        '--interval',
        type=int,
        default=100,
        help='iterations between measurements (%(default)s)',
    )
    parser.add_argument(
        '--first',
        type=int,
        default=100,
        help='iteration to compare the last with (%(default)s)',
    )
    return parser.parse_args()


def small_config(folder: str, epochs: int) -> Config:
    """The demo's config, made small, for training alone."""
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.arch = dict(depths=(1, 1, 1, 1), width=16)
    cfg.model.neck.update(in_channels=[16, 32, 256, 512], out_channels=32)
    cfg.model.bbox_head.update(in_channels=32, feat_channels=32, stacked_convs=1)
    loader = cfg.train_dataloader
    loader.update(batch_size=BATCH, num_workers=1, persistent_workers=False)
    loader.dataset.data_root = f'{folder}/data'
    loader.dataset.pipeline[2].scale = (64, 64)
    for mode in ('val', 'test'):
        for part in ('dataloader', 'cfg', 'evaluator'):
            cfg[f'{mode}_{part}'] = None
    cfg.train_cfg.max_epochs = epochs
    cfg.default_hooks.checkpoint.interval = epochs
    cfg.default_hooks.logger.interval = 100
    cfg.work_dir = f'{folder}/run'
    return cfg


def main() -> None:
    args = parse_args()
    usage = UsageHook(args.interval)
    with tempfile.TemporaryDirectory() as folder:
        make_demo_data(f'{folder}/data', args.images, num_val=1, size=64)
        runner = RUNNERS.build(small_config(folder, args.epochs))
        runner.register_hook(usage)
        runner.train()
    last = usage.steps[-1]
    warm = next(step for step in usage.steps if step > last / 3)
    slopes = usage.slopes(warm)
    print(
        f'\n{last} iterations, {args.epochs} starts of a data loader. Held '
        f'at iteration {args.first} and at {last}; growth in 1000 '
        f'iterations from {warm} on with its 95 % interval:\n'
    )
    print(f'| | {args.first} | {last} | growth | limit |\n|---|---|---|---|---|')
    for name, grows in slopes.items():
        print(
            f'| {name} | {usage.at(name, args.first):,} | '
            f'{usage.at(name, last):,} | {grows.growth:+,.1f} +- '
            f'{grows.confidence:,.1f} | {LIMITS.get(name, "-")} |'
        )
    leaks = growing(slopes)
    if leaks:
        sys.exit(f'error: beyond its limit grows: {", ".join(leaks)}')


if __name__ == '__main__':
    main()
