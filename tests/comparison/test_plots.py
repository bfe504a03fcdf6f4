"""Pictures of a comparison show every arm."""

import numpy as np
import pytest

from tresnet_det.comparison import plots
from tresnet_det.comparison.evaluation import IOUS, Findings
from tresnet_det.comparison.report import _title


def findings(seed):
    curve = np.array([[1, 2.0 + seed], [2, 1.0 + seed]])
    precision = {iou: np.linspace(1, 0, 101) for iou in IOUS}
    return Findings({}, {}, precision, curve, curve, curve)


@pytest.mark.parametrize('count', [1, 6, 13])
def test_every_arm_is_drawn_in_its_own_colour(count, tmp_path, monkeypatch):
    arms = {f'arm {k}': [findings(k), findings(k + 0.5)] for k in range(count)}
    drawn = []
    monkeypatch.setattr(plots, '_write', lambda figure, path: drawn.append(figure))
    plots.plot_curves(arms, 'epoch', tmp_path)
    plots.plot_precision(arms, tmp_path)
    for axes in (axes for figure in drawn for axes in figure.axes):
        handles, labels = axes.get_legend_handles_labels()
        assert labels == [*arms]
        assert len({tuple(np.ravel(line.get_color())) for line in handles}) == count


def test_title():
    assert _title(['a']) == 'a'
    assert _title(['a', 'b']) == 'a against b'
    assert _title(['a', 'b', 'c']) == 'a against 2 others'
