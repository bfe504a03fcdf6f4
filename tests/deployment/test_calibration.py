"""Ranges of 8 bits, and which weights float16 leaves alone."""

import newer_torch  # noqa: F401
import numpy as np
import pytest
import torch
import torch.nn as nn
from small_detectors import HEADS, small_detector

from tresnet_det.deployment.calibration import best_range
from tresnet_det.deployment.graphs import detector_graph


def squared_error(values, low, high, slope):
    """Of rounding to 256 levels, seen behind the activation."""
    step = (high - low) / 255
    rounded = np.round((values.clip(low, high) - low) / step) * step + low
    behind = [np.where(x < 0, slope * x, x) for x in (values, rounded)]
    return np.square(behind[0] - behind[1]).mean()


@pytest.mark.parametrize('slope', [0.0, 1e-3, 1.0])
def test_best_range_errs_less_than_the_whole_one(slope):
    draw = np.random.default_rng(0)
    values = np.append(draw.normal(0, 1, 20000), [-9.0, 12.0]).astype(np.float32)
    low, high = best_range(values, slope)
    assert -9 <= low <= 0 < high < 12
    # Where the negative half is flattened it gets no levels: half the step.
    assert (low > -0.5) == (slope < 1)
    best = squared_error(values, low, high, slope)
    assert best < (0.96 if slope == 1 else 0.4) * squared_error(values, -9, 12, slope)


@pytest.mark.parametrize(
    ('values', 'expected'),
    [([0, 0, 0], (-1, 1)), ([0, 1, 2], (0, 2)), ([-2, -1, 0], (-2, 0))],
)
def test_best_range_holds_zero(values, expected):
    low, high = best_range(np.float32(values * 50))
    assert low <= 0 <= high and low < high
    np.testing.assert_allclose((low, high), expected, atol=0.05)


@pytest.mark.parametrize('head', HEADS)
def test_predictors_and_scales_stay_float32(head):
    graph = detector_graph(small_detector(head), half=True)
    convs = {True: set(), False: set()}  # predicts -> dtypes of weights
    for name, module in graph.net.named_modules():
        if isinstance(module, nn.Conv2d):
            predicts = name.startswith('head.') and name.count('.') == 1
            convs[predicts].add(module.weight.dtype)
    assert convs == {True: {torch.float32}, False: {torch.float16}}
    scales = getattr(graph.net['head'], 'scales', ())
    assert all(one.scale.dtype == torch.float32 for one in scales)
    with torch.no_grad():
        images = torch.zeros(1, 3, 64, 64, dtype=torch.float16)
        maps = graph.net['head'](graph.net['neck'](graph.net['backbone'](images)))
    assert {level.dtype for kind in maps for level in kind} == {torch.float32}
