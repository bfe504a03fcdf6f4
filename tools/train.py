"""MMDetection's own tools/train.py, with tresnet_det registered.

    python tools/train.py CONFIG [--work-dir DIR] [--resume] [--amp] ...

Every option is MMDetection's; --help lists them.
"""

import tresnet_det  # noqa: F401  registers, allows safe checkpoint classes
from tresnet_det.training.mmdet_tools import run_mmdet_tool

if __name__ == '__main__':
    run_mmdet_tool('train.py')
