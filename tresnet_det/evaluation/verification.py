"""Verification: do two images show the same identity? TAR at a given FAR."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS

from ..common.errors import UserError

__all__ = ['VerificationMetric', 'pair_scores', 'tar_at_far']

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_ROWS = 1024  # of the table of all pairs at a time


def tar_at_far(
    genuine: np.ndarray, impostor: np.ndarray, fars: Sequence[float] = FARS
) -> dict[float, tuple[float, int]]:
    """The share of true pairs accepted at a share of wrong ones.

    Accepted are scores above a threshold. Of all thresholds that accept at
    most that share of wrong pairs the one with most true pairs counts.

    Args:
        genuine: Scores of pairs that show one identity, of shape (G,).
        impostor: Those of pairs of two identities, of shape (I,).
        fars: Shares of wrong pairs accepted.

    Returns:
        FAR -> TAR, and how many wrong pairs that FAR is: FAR * I rounded
        down. With 0 the TAR is NaN, as so small a share cannot be measured
        on so few pairs; with a few it is rough.

    Raises:
        UserError: There is no pair of one of the two sorts.
    """
    if not len(genuine) or not len(impostor):
        raise UserError(
            f'{len(genuine)} pairs show one identity and {len(impostor)} show two; '
            'verification needs some of both'
        )
    found = {}
    for far in fars:
        # The product of, say, 1e-1 and 30 is 3.0000000000000004 and counts 3;
        # that of 1e-6 and 1e6 may be just below 1.
        allowed = int(np.floor(far * len(impostor) * (1 + 1e-12)))
        if allowed == 0:
            found[far] = float('nan'), 0
        elif allowed >= len(impostor):
            found[far] = 1.0, len(impostor)
        else:
            # The highest score of a pair that must not be accepted.
            place = len(impostor) - 1 - allowed
            threshold = np.partition(impostor, place)[place]
            found[far] = float((genuine > threshold).mean()), allowed
    return found


def pair_scores(
    embeddings: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of all pairs of images.

    Args:
        embeddings: Of shape (N, C).
        labels: Identities, of shape (N,).

    Returns:
        Those of pairs of one identity, and of two.
    """
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    units = (embeddings / np.maximum(norms, 1e-12)).astype(np.float32)
    sorts: tuple[list, list] = ([], [])
    for start in range(0, len(units), _ROWS):
        rows = slice(start, start + _ROWS)
        cosines = units[rows] @ units.T
        same = labels[rows, None] == labels[None]
        # Each pair once.
        later = np.arange(len(units))[None] > np.arange(len(units))[rows, None]
        sorts[0].append(cosines[later & same])
        sorts[1].append(cosines[later & ~same])
    genuine, impostor = (np.concatenate(parts) for parts in sorts)
    return genuine, impostor


@METRICS.register_module()
class VerificationMetric(BaseMetric):
    """TAR at FAR over all pairs of the images of a split.

    The model's predictions must hold ``embedding``, see
    ``tresnet_det.distillation.embedding``; the data set's classes are the
    identities, which need not be those of training.

    Args:
        fars: Shares of wrong pairs accepted.
    """

    default_prefix = 'verification'

    def __init__(self, fars: Sequence[float] = FARS, **options: Any) -> None:
        super().__init__(**options)
        self.fars = tuple(fars)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            if 'embedding' not in sample:
                raise UserError(
                    'VerificationMetric found no embedding in the predictions; '
                    "set model.head.type = 'EmbeddingArcFaceHead' and import "
                    'tresnet_det.distillation.embedding in custom_imports'
                )
            self.results.append(
                (
                    sample['embedding'].float().cpu().numpy(),
                    int(sample['gt_label'].item()),
                )
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        embeddings, labels = map(np.stack, zip(*results))
        genuine, impostor = pair_scores(embeddings, labels)
        figures: dict[str, float] = dict(
            genuine_pairs=len(genuine), impostor_pairs=len(impostor)
        )
        for far, (tar, count) in tar_at_far(genuine, impostor, self.fars).items():
            figures[f'TAR@{far:.0e}'] = tar
            figures[f'pairs@{far:.0e}'] = count
            if not count:
                print_log(
                    f'TAR at FAR {far:.0e} is not measured: the {len(impostor)} '
                    'pairs of two identities are too few, it takes '
                    f'{1 / far:.0f} at least',
                    'current',
                    logging.WARNING,
                )
        return figures
