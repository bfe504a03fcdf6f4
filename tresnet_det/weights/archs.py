"""Depth and width of each published TResNet (arXiv:2003.13630, table 1)."""

from typing import NamedTuple

__all__ = ['ARCHS', 'Arch']


class Arch(NamedTuple):
    """Depth, width and slopes of one TResNet.

    Attributes:
        depths: Blocks in each of the four stages.
        width: Channels of the stem; doubled at each stage.
        bottleneck: For each stage, Bottleneck (True) or BasicBlock (False).
        stem_slope, slope: Slopes of the leaky ReLU after the stem and in the
            blocks.
    """

    depths: tuple[int, int, int, int]
    width: int
    bottleneck: tuple[bool, bool, bool, bool] = (False, False, True, True)
    stem_slope: float = 1e-2
    slope: float = 1e-3


ARCHS: dict[str, Arch] = {
    'm': Arch((3, 4, 11, 3), 64),
    'l': Arch((4, 5, 18, 3), 76),  # int(64 * 1.2)
    'xl': Arch((4, 5, 24, 3), 83),  # int(64 * 1.3)
    'v2_l': Arch((3, 4, 23, 3), 64, (True, True, True, True), 1e-6, 1e-6),
}
