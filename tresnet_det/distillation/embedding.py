"""An ArcFace head whose predictions hold the embedding.

Import it by ``custom_imports``: MMPretrain is an extra.
"""

from typing import Any

from mmengine.registry import MODELS
from mmpretrain.models.heads import ArcFaceClsHead  # type: ignore[import-untyped]
from torch import Tensor

__all__ = ['EmbeddingArcFaceHead']


@MODELS.register_module()
class EmbeddingArcFaceHead(ArcFaceClsHead):
    """MMPretrain's, which for verification also tells the embedding.

    Weights, losses and scores are those of ``ArcFaceClsHead``, which fails under
    mixed precision: it takes a half embedding to single weights.
    """

    def pre_logits(self, feats: tuple) -> Tensor:
        """The embedding of shape (N, C), in the weights' type."""
        found = super().pre_logits(feats)
        return found.to(next(self.parameters()).dtype)

    def predict(
        self, feats: tuple, data_samples: list | None = None, **options: Any
    ) -> list:
        """As there, and ``embedding`` of shape (C,) in each sample."""
        found = super().predict(feats, data_samples, **options)
        for sample, embedding in zip(found, self.pre_logits(feats)):
            sample.set_field(embedding, 'embedding')
        return found
