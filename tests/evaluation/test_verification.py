"""TAR at FAR against brute force."""

import numpy as np
import pytest
import torch

from tresnet_det import UserError
from tresnet_det.evaluation.verification import (
    FARS,
    VerificationMetric,
    pair_scores,
    tar_at_far,
)


def by_brute_force(genuine, impostor, far):
    """The best TAR of all thresholds that accept few enough wrong pairs."""
    best = 0.0
    for threshold in [-np.inf, *genuine, *impostor]:
        if (impostor > threshold).sum() <= far * len(impostor) + 1e-9:
            best = max(best, (genuine > threshold).mean())
    return best


@pytest.mark.parametrize('digits', [8, 1], ids=['', 'ties'])
@pytest.mark.parametrize('seed', range(3))
def test_by_brute_force(digits, seed):
    rng = np.random.default_rng(seed)
    genuine = rng.normal(0.6, 0.3, 80).round(digits)
    impostor = rng.normal(0.0, 0.3, 300).round(digits)
    for far, (tar, count) in tar_at_far(genuine, impostor).items():
        assert count == int(far * 300 + 1e-9)
        if count:
            assert tar == by_brute_force(genuine, impostor, far)
        else:
            assert np.isnan(tar)


def test_by_hand():
    genuine, impostor = np.array([0.9, 0.5, 0.2]), np.arange(10) / 10
    found = tar_at_far(genuine, impostor, (0.1, 0.5, 0.05, 1.0))
    assert found[0.1] == (pytest.approx(1 / 3), 1)  # above .8
    assert found[0.5] == (pytest.approx(2 / 3), 5)  # above .4
    assert np.isnan(found[0.05][0]) and found[0.05][1] == 0
    assert found[1.0] == (1.0, 10)


def test_enough_pairs_for_one_in_a_million():
    impostor = np.linspace(0, 1, 1_000_000)
    tar, count = tar_at_far(np.array([0.5, 2.0]), impostor)[1e-6]
    assert (tar, count) == (0.5, 1)


@pytest.mark.parametrize('rows', [2, 1000])
def test_each_pair_once(rows, monkeypatch):
    monkeypatch.setattr('tresnet_det.evaluation.verification._ROWS', rows)
    rng = np.random.default_rng(0)
    embeddings, labels = rng.normal(size=(9, 4)), np.array([0, 1, 0, 2, 1, 0, 3, 3, 1])
    expected = ([], [])
    for i in range(9):
        for j in range(i + 1, 9):
            a, b = embeddings[i], embeddings[j]
            cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            expected[int(labels[i] != labels[j])].append(cosine)
    for found, wanted in zip(pair_scores(embeddings, labels), expected):
        np.testing.assert_allclose(sorted(found), sorted(wanted), atol=1e-6)


def test_no_pair_of_a_sort_is_refused():
    with pytest.raises(UserError, match='0 pairs show one identity and 3 show two'):
        tar_at_far(np.zeros(0), np.zeros(3))


def test_metric():
    metric = VerificationMetric()
    with pytest.raises(UserError, match='no embedding'):
        metric.process(None, [dict(gt_label=torch.tensor([0]))])
    for label in (0, 0, 1, 1):
        vector = torch.eye(2)[label] + 0.01
        metric.process(None, [dict(gt_label=torch.tensor([label]), embedding=vector)])
    figures = metric.evaluate(4)
    assert figures['verification/genuine_pairs'] == 2
    assert figures['verification/impostor_pairs'] == 4
    assert {f'verification/pairs@{far:.0e}' for far in FARS} <= {*figures}
    assert np.isnan(figures['verification/TAR@1e-01'])
