"""Trains and evaluates a detector with TResNet-M on the demo data set.

    python tools/demo.py [--out-dir work_dirs/demo]

Four stages, each skipped where its output is whole already: data, training
(continued if it was stopped), evaluation, report.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import tresnet_det  # noqa: F401  first: it says what is missing

# isort: split
from mmengine.config import Config
from mmengine.utils import ProgressBar

from tresnet_det.common.atomic import written_whole
from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.data.demo_data import make_demo_data
from tresnet_det.evaluation.figures import (
    coco_figures,
    draw_detections,
    evaluate_boxes,
    figures_table,
    plot_curves,
)

TOOLS = Path(__file__).resolve().parent
CONFIG = TOOLS.parent / 'configs' / 'demo' / 'fcos_tresnet-m_fpn_demo.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        default='work_dirs/demo',
        help='everything is written below (%(default)s)',
    )
    parser.add_argument('--num-train', type=int, default=300)
    parser.add_argument('--num-val', type=int, default=50)
    parser.add_argument('--epochs', type=int, help="default: the config's")
    return parser.parse_args()


def run_tool(
    name: str, data: Path, *arguments: str | Path, cwd: Path | None = None
) -> None:
    """Runs a command line of ours as users do, its output on the screen."""
    command = [
        sys.executable,
        '-W',
        'ignore:pkg_resources',
        TOOLS / name,
        CONFIG,
        *arguments,
    ]
    status = subprocess.run(
        command, cwd=cwd, env=dict(os.environ, DEMO_DATA=str(data))
    ).returncode
    if status:
        sys.exit(
            f'{name} stopped with status {status}; the same command '
            'continues where it was'
        )


@tell_user_errors
def main() -> None:
    args = parse_args()
    out = args.out_dir.resolve()
    data, train_dir = out / 'data', out / 'train'
    detections = out / 'detections.bbox.json'
    epochs = args.epochs or Config.fromfile(CONFIG).train_cfg.max_epochs
    start = time.monotonic()

    print(f'[1/4] data: {data}')
    bar = ProgressBar(args.num_train + args.num_val)
    make_demo_data(data, args.num_train, args.num_val, progress=bar.update)

    print(f'\n[2/4] training, {epochs} epochs: {train_dir}')
    checkpoint = train_dir / f'epoch_{epochs}.pth'
    if not checkpoint.exists():
        run_tool(
            'train.py',
            data,
            '--work-dir',
            train_dir,
            '--resume',
            '--cfg-options',
            f'train_cfg.max_epochs={epochs}',
            f'param_scheduler.1.T_max={epochs}',
        )

    print(f'[3/4] evaluation: {detections}')
    if not detections.exists():
        with written_whole(detections) as part:
            # A bare name and a working folder: mmengine takes spaces out of
            # what --cfg-options sets.
            run_tool(
                'test.py',
                data,
                checkpoint,
                '--work-dir',
                out / 'test',
                '--cfg-options',
                'test_evaluator.outfile_prefix=detections',
                cwd=part.parent,
            )
    minutes = (time.monotonic() - start) / 60

    print(f'[4/4] report: {out}')
    ann_file = data / 'annotations' / 'instances_val.json'
    figures = coco_figures(evaluate_boxes(ann_file, detections))
    with written_whole(out / 'figures.json') as part:
        part.write_text(json.dumps(figures, indent=1))
    plot_curves(train_dir, out / 'curves.png')
    draw_detections(
        ann_file,
        {'detections': detections},
        data / 'val',
        out / 'pictures',
        score_thr=0.25,
    )

    print(
        f'\nData, training and evaluation took {minutes:.1f} minutes now.\n'
        f'{figures_table(figures)}'
    )
    for path, content in (
        (data, 'the demo set'),
        (train_dir, 'checkpoints and logs'),
        (detections, 'detections of the val split, COCO results'),
        (out / 'figures.json', 'the figures above'),
        (out / 'curves.png', 'losses and AP over the training'),
        (out / 'pictures', 'ground truth (left), detections (right)'),
    ):
        print(f'{os.path.relpath(path)}: {content}')


if __name__ == '__main__':
    main()
