"""The report's figures: sizes against levels and anchors, shapes, places."""

import io
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ...common.html_pictures import data_uri
from ..proposal import ANCHORS

__all__ = ['heat_map', 'shapes', 'sizes']

BLUE, GREY, RED = '#0a6cd6', '#5f6b7a', '#b3261e'
GRID = 32  # cells of the heat map along each side


def sizes(
    boxes: np.ndarray,
    ranges: Sequence[Sequence[float]],
    strides: Sequence[int],
    anchor_scale: float,
) -> str:
    """Longer sides of the boxes, FCOS's levels and RetinaNet's anchors.

    Args:
        boxes: (N, 2) widths and heights at the training size.
        ranges: FCOS's, of half the longer side.
        strides: Of the levels.
        anchor_scale: RetinaNet's.
    """

    def draw(axes: Axes) -> None:
        longest = np.maximum(boxes.max(1), 1)
        edges = np.geomspace(1, max(1024, longest.max() + 1), 41)
        axes.hist(longest, edges.tolist(), color=BLUE, alpha=0.8)
        top = axes.get_ylim()[1]
        axes.set(xscale='log', xlabel='longer side in training, pixels', ylim=(0, top))
        axes.set_ylabel('boxes')
        for (low, high), stride in zip(ranges, strides):
            if low > 0:
                axes.axvline(2 * low, color=GREY, lw=1, ls='--')
            begin = max(2 * low, edges[0])
            middle = np.sqrt(begin * min(2 * high, edges[-1]))
            axes.text(
                middle, 1.08 * top, f'/{stride}', ha='center', va='bottom', color=GREY
            )
            for octave in range(ANCHORS[1]):
                edge = stride * anchor_scale * 2 ** (octave / ANCHORS[1])
                axes.plot(edge, 1.04 * top, 'v', color=RED, ms=5, clip_on=False)
        ticks = [2**k for k in range(1, 11)]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()

    return _figure(draw)


def shapes(boxes: np.ndarray) -> str:
    """Width by height of the boxes.

    Args:
        boxes: (N, 2) widths and heights.
    """

    def draw(axes: Axes) -> None:
        ratios = np.clip(boxes[:, 0] / boxes[:, 1], 1 / 16, 16)
        axes.hist(ratios, np.geomspace(1 / 16, 16, 41).tolist(), color=BLUE, alpha=0.8)
        axes.set(xscale='log', xlabel='width : height', ylabel='boxes')
        for ratio in ANCHORS[0]:
            axes.axvline(1 / ratio, color=RED, lw=1, ls='--')
        ticks = [1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8]
        names = ['1:8', '1:4', '1:2', '1:1', '2:1', '4:1', '8:1']
        axes.set_xticks(ticks, names)
        axes.minorticks_off()

    return _figure(draw)


def heat_map(boxes: np.ndarray, images: np.ndarray) -> str:
    """Where boxes lie: how many cover each place of the image.

    Args:
        boxes: (N, 4) [x, y, width, height].
        images: (N, 2) width and height of each box's image.
    """
    start = boxes[:, :2] / images
    end = start + boxes[:, 2:] / images
    low = np.clip(np.floor(start * GRID), 0, GRID).astype(int)
    high = np.clip(np.ceil(end * GRID), 0, GRID).astype(int)
    # Four corners for each box, then two sums: linear in the boxes.
    cover = np.zeros((GRID + 1, GRID + 1))
    for x, y, sign in (
        (low[:, 0], low[:, 1], 1),
        (high[:, 0], low[:, 1], -1),
        (low[:, 0], high[:, 1], -1),
        (high[:, 0], high[:, 1], 1),
    ):
        np.add.at(cover, (y, x), sign)
    covered = cover.cumsum(0).cumsum(1)[:GRID, :GRID]

    def draw(axes: Axes) -> None:
        shown = axes.imshow(covered, cmap='Blues', vmin=0, extent=(0, 1, 1, 0))
        axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=['left', 'right'])
        axes.set_yticklabels(['top', 'bottom'])
        figure = axes.get_figure()
        assert figure is not None
        figure.colorbar(shown, label='boxes that cover it', shrink=0.85)

    return _figure(draw)


def _figure(draw: Callable[[Axes], None]) -> str:
    # Neither pyplot nor its settings: those of whoever imports this are theirs.
    figure = Figure(figsize=(4.6, 3.2), layout='constrained')
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.spines[['top', 'right']].set_visible(False)
    draw(axes)
    file = io.BytesIO()
    figure.savefig(file, format='svg', metadata={'Date': None})
    return data_uri(file.getvalue(), 'svg+xml')
