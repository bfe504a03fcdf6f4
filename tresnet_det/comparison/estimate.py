"""How long a comparison will take: the plan as a table."""

import math
import statistics
from collections.abc import Sequence

from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from terminaltables import AsciiTable

from ..evaluation.figures import read_scalars
from .cost import step_seconds
from .run import Run

__all__ = ['plan_table']


def _batches(cfg: Config, split: str, processes: int) -> int:
    """Batches of a data set that each process takes."""
    loader = cfg[f'{split}_dataloader']
    with DefaultScope.overwrite_default_scope('mmdet'):
        images = len(DATASETS.build(loader.dataset))
    return math.ceil(images / (loader.batch_size * processes))


def _minutes(runs: Sequence[Run]) -> float:
    """Of one whole run of an arm, evaluations included.

    As logged by one of the runs, else measured here.
    """
    run, cfg = runs[0], runs[0].cfg
    processes = run.gpus or 1
    lines = [line for r in runs for line in read_scalars(r.work_dir)]

    def logged(val: bool) -> float | None:
        times = [
            line['time']
            for line in lines
            if 'time' in line and ('loss' not in line) == val
        ]
        return statistics.median(times) if times else None

    train, val = logged(False), logged(True)
    if train is None or val is None:
        measured = step_seconds(cfg)
        train, val = train or measured[0], val or measured[1]
    steps = run.length
    if run.by_epoch:
        steps *= _batches(cfg, 'train', processes)
    evaluations = run.length // cfg.train_cfg.get('val_interval', 1) + 1
    if any(hook['type'] == 'ValLossHook' for hook in cfg.get('custom_hooks') or []):
        evaluations += evaluations - 1
    return (steps * train + evaluations * _batches(cfg, 'val', processes) * val) / 60


def plan_table(arms: Sequence[Sequence[Run]], estimate: bool = True) -> str:
    """Every run, how far it is and, if asked, how long its rest will take.

    Where nothing is logged yet, a step of training and of evaluation is timed
    on the spot.

    Args:
        arms: The runs of each arm.
        estimate: Tell the minutes that are left.
    """
    rows = [
        ['arm', 'run', 'state', 'processes x images', 'folder', 'minutes left'][
            : None if estimate else -1
        ]
    ]
    total = 0.0
    for runs in arms:
        rest = [run for run in runs if run.gpus and not run.finished]
        minutes = _minutes(runs) if rest and estimate else 0.0
        for run in runs:
            left = minutes * (1 - run.done / run.length) * (run in rest)
            total += left
            rows.append(
                [
                    run.arm,
                    run.label,
                    run.state,
                    run.batch,
                    str(run.work_dir),
                    *([f'{left:.1f}'] * estimate),
                ]
            )
    table = AsciiTable(rows).table
    return table if not estimate else (f'{table}\n{total / 60:.2f} hours left')
