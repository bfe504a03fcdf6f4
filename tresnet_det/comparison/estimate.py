"""How long a comparison will take: the plan as a table."""

import math
import statistics
from collections.abc import Sequence

from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from terminaltables import AsciiTable

from ..report import read_scalars
from .cost import train_seconds
from .plan import Run

__all__ = ['plan_table']


def _iterations(cfg: Config, gpus: int) -> int:
    """Iterations of a whole training."""
    if 'max_epochs' not in cfg.train_cfg:
        return cfg.train_cfg.max_iters
    with DefaultScope.overwrite_default_scope('mmdet'):
        images = len(DATASETS.build(cfg.train_dataloader.dataset))
    return cfg.train_cfg.max_epochs * math.ceil(
        images / (cfg.train_dataloader.batch_size * gpus))


def _seconds_per_step(runs: Sequence[Run]) -> float:
    """As logged by one of the arm's runs, else measured here."""
    for run in runs:
        if any(run.work_dir.glob('*/vis_data/scalars.json')):
            times = [line['time'] for line in read_scalars(run.work_dir)
                     if 'loss' in line]
            if times:
                return statistics.median(times)
    return train_seconds(runs[0].cfg)


def plan_table(arms: Sequence[Sequence[Run]], gpus: int = 1) -> str:
    """Every run, how far it is and how many minutes its rest will take.

    Evaluations are not counted. Where nothing is logged yet, a training step
    is timed on the spot.

    Args:
        arms: The runs of each arm.
        gpus: Processes of a training.
    """
    rows = [['arm', 'run', 'state', 'minutes of training left', 'folder']]
    total = 0.0
    for runs in arms:
        open_runs = [run for run in runs if not run.given
                     and not run.finished]
        minutes = 0.0
        if open_runs:
            cfg = runs[0].cfg
            minutes = _iterations(cfg, gpus) * _seconds_per_step(runs) / 60
        for run in runs:
            left = (minutes * (1 - run.done / run.length)
                    if run in open_runs else 0)
            total += left
            rows.append([run.arm, run.label, run.state, f'{left:.0f}',
                         str(run.work_dir)])
    return (f'{AsciiTable(rows).table}\n'
            f'{total / 60:.1f} hours of training left, evaluations not '
            'counted')
