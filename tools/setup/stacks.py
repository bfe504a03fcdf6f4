"""The stacks of versions that an environment can be made of.

The pinned one is that of `make setup`. The others are what is tested beside
it (test_stack.py); each is said by what it has other than the pinned.
"""

from pathlib import Path
from typing import Dict, Mapping, NamedTuple

PINS = Path(__file__).resolve().parent / 'constraints.txt'


class Stack(NamedTuple):
    """Versions, and where mmcv comes from.

    extra: the extra of setup.cfg that brings the mm* packages along.
    mmcv: the distribution that holds mmcv.
    cxx: the C++ standard that the headers of its torch want.
    changes: pins that differ from those of constraints.txt.
    """

    name: str
    extra: str = 'openmmlab'
    mmcv: str = 'mmcv'
    cxx: str = 'c++20'
    changes: Mapping[str, str] = {}

    def pins(self) -> Dict[str, str]:
        """Name of a distribution -> its version."""
        lines = PINS.read_text().splitlines()
        return dict(
            [line.split('==') for line in lines if '==' in line], **self.changes
        )

    def constraints(self) -> str:
        """The pins as pip reads them."""
        return '\n'.join('=='.join(pin) for pin in self.pins().items()) + '\n'


PINNED = Stack('pinned')
STACKS = {
    stack.name: stack
    for stack in (
        PINNED,
        # The last torch that OpenMMLab publishes a wheel of mmcv 2.1.0 for; it
        # was built against NumPy 1, and with it all that touches its arrays.
        Stack(
            'torch21',
            cxx='c++17',
            changes={
                'torch': '2.1.2',
                'torchvision': '0.16.2',
                'triton': '2.1.0',
                'numpy': '1.26.4',
                'opencv-python': '4.11.0.86',
                'opencv-python-headless': '4.11.0.86',
                'ml_dtypes': '0.5.4',
            },
        ),
        # The maintained fork, on the newest torch.
        Stack(
            'onedl',
            'onedl',
            'onedl-mmcv',
            changes={
                'onedl-mmengine': '0.10.12',
                'onedl-mmcv': '2.3.6',
                'onedl-mmdetection': '3.5.1',
                'torch': '2.15.0',
                'torchvision': '0.29.2',
                'triton': '3.9.0',
                'numpy': '2.4.6',
                'ImageIO': '2.38.1',
                'imagecorruptions-imaug': '1.1.5',
                'imaug': '0.4.2',
                'lazy-loader': '0.6',
                'scikit-image': '0.26.0',
                'tifffile': '2026.3.3',
            },
        ),
    )
}
