"""Pictures of a comparison: curves, and detections side by side."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..common.atomic import written_whole
from .evaluation import IOUS, Findings

__all__ = ['plot_curves', 'plot_precision']


def _coloured(
    arms: Mapping[str, Sequence[Findings]],
) -> Iterator[tuple[str, Sequence[Findings], Any]]:
    """Each arm, its runs and a colour of its own."""
    few = colormaps['tab10']
    colours = few if len(arms) <= few.N else colormaps['turbo'].resampled(len(arms))
    for number, (name, runs) in enumerate(arms.items()):
        yield name, runs, colours(number)


def _lines(
    axes: Axes, curves: Sequence[np.ndarray], colour: Any, name: str, style: str
) -> None:
    """Each seed's curve, thin, and their mean where all have a value."""
    curves = [curve for curve in curves if len(curve)]
    for curve in curves:
        axes.plot(*curve.T, style, color=colour, alpha=0.3, linewidth=0.8)
    if curves:
        steps = [curve[:, 0].tolist() for curve in curves]
        common = sorted(set(steps[0]).intersection(*steps[1:]))
        mean = [
            np.mean([curve[s.index(step), 1] for curve, s in zip(curves, steps)])
            for step in common
        ]
        axes.plot(common, mean, style, color=colour, label=name)


def plot_curves(
    arms: Mapping[str, Sequence[Findings]], unit: str, out_dir: Path
) -> list[Path]:
    """Draws AP and losses over the training; thin lines are single seeds.

    Args:
        arms: The findings of each arm's finished runs.
        unit: What evaluations are counted in, 'epoch' or 'iteration'.
        out_dir: Where ``ap.png`` and ``loss.png`` go.
    """
    ap, loss = (
        Figure(figsize=(8, 5), layout='constrained'),
        Figure(figsize=(12, 5), layout='constrained'),
    )
    ap_axes = ap.subplots()
    train_axes, val_axes = loss.subplots(1, 2, sharey=True)
    for name, runs, colour in _coloured(arms):
        _lines(ap_axes, [r.val_ap for r in runs], colour, name, 'o-')
        _lines(train_axes, [r.train_loss for r in runs], colour, name, '-')
        _lines(val_axes, [r.val_loss for r in runs], colour, name, 'o-')
    ap_axes.set(xlabel=unit, ylabel='AP on the val split', ylim=(0, None))
    train_axes.set(xlabel='iteration', ylabel='loss', title='training')
    val_axes.set(
        xlabel=unit,
        title='val split'
        if any(len(r.val_loss) for runs in arms.values() for r in runs)
        else 'val split: not computed (needs ValLossHook)',
    )
    for axes in (ap_axes, train_axes, val_axes):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    return [_write(ap, out_dir / 'ap.png'), _write(loss, out_dir / 'loss.png')]


def plot_precision(arms: Mapping[str, Sequence[Findings]], out_dir: Path) -> Path:
    """Draws precision over recall: mean of classes and seeds, and the range
    of the seeds.

    Args:
        arms: The findings of each arm's finished runs.
        out_dir: Where ``precision_recall.png`` goes.
    """
    figure = Figure(figsize=(12, 5), layout='constrained')
    recall = np.linspace(0, 1, 101)
    for axes, iou in zip(figure.subplots(1, len(IOUS), sharey=True), IOUS):
        for name, runs, colour in _coloured(arms):
            curves = np.array([r.precision[iou] for r in runs])
            axes.plot(recall, curves.mean(axis=0), color=colour, label=name)
            axes.fill_between(
                recall, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.2
            )
        axes.set(title=f'IoU {iou}', xlabel='recall', xlim=(0, 1), ylim=(0, 1))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.axes[0].set_ylabel('precision')
    return _write(figure, out_dir / 'precision_recall.png')


def _write(figure: Figure, path: Path) -> Path:
    with written_whole(path) as part:
        figure.savefig(part, dpi=100)
    return path
