"""Images as another model's preprocessor would have made them.

A student's images come normalised, their channels in its order, padded.
Teacher and student hardly ever agree in that: TResNet takes RGB / 255, most of
MMDetection's models RGB or BGR with a mean and a deviation.
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

__all__ = ['as_prepared_by']


def as_prepared_by(
    theirs: BaseDataPreprocessor,
    own: BaseDataPreprocessor,
    images: Tensor,
    sizes: Sequence[tuple[int, int]],
) -> Tensor:
    """Undoes one normalisation and padding and does another.

    From the normalised images rather than from those of the loader: so whatever
    was done to a batch in between (mixing, resizing) is in both.

    Args:
        theirs: Preprocessor of the model that shall see the images.
        own: The one that they come from.
        images: Of shape (N, C, H, W).
        sizes: Height and width of each without its padding.

    Returns:
        Images of shape (N, C, H', W'), in the same type. Equal to the last
        bit where the preprocessors are; else off by the rounding of
        ``images``.
    """
    mean, deviation = _statistics(own, images)
    flip = _swaps_channels(own) != _swaps_channels(theirs)
    if flip:
        mean, deviation = mean.flip(0), deviation.flip(0)
    other_mean, other_deviation = _statistics(theirs, images)
    # One factor and one summand: exactly 1 and 0 where nothing differs.
    factor = deviation / other_deviation
    summand = (mean - other_mean) / other_deviation
    divisor = getattr(theirs, 'pad_size_divisor', 1)
    height, width = (-(-max(side) // divisor) * divisor for side in zip(*sizes))
    result = images.new_full(
        (*images.shape[:2], height, width), float(getattr(theirs, 'pad_value', 0))
    )
    for image, given, (rows, columns) in zip(result, images, sizes):
        inside = given[:, :rows, :columns].double()
        if flip:
            inside = inside.flip(0)
        image[:, :rows, :columns] = inside * factor + summand
    return result


def _statistics(
    preprocessor: BaseDataPreprocessor, images: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and deviation, each of shape (C or 1, 1, 1), in float64."""
    if not getattr(preprocessor, '_enable_normalize', False):
        zero = torch.zeros(1, 1, 1, dtype=torch.float64, device=images.device)
        return zero, zero + 1
    mean, deviation = (
        torch.as_tensor(value, dtype=torch.float64, device=images.device)
        for value in (preprocessor.mean, preprocessor.std)
    )
    return mean.view(-1, 1, 1), deviation.view(-1, 1, 1)


def _swaps_channels(preprocessor: BaseDataPreprocessor) -> bool:
    # MMPretrain's has a name of its own.
    return bool(
        getattr(preprocessor, '_channel_conversion', False)
        or getattr(preprocessor, 'to_rgb', False)
    )
