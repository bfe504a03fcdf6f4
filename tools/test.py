"""MMDetection's own tools/test.py, with tresnet_det registered.

    python tools/test.py CONFIG CHECKPOINT [--show-dir DIR] ...

Every option is MMDetection's; --help lists them.
"""

import tresnet_det  # noqa: F401  registers, allows safe checkpoint classes
from tresnet_det.training.mmdet_tools import run_mmdet_tool

if __name__ == '__main__':
    run_mmdet_tool('test.py')
