"""The half precisions that this torch computes a norm in on a CPU."""

import pytest
import torch
from mmengine.utils import digit_version

HALVES = [
    torch.bfloat16,
    pytest.param(
        torch.float16,
        marks=pytest.mark.skipif(
            digit_version(torch.__version__) < digit_version('2.3'),
            reason='this torch has no float16 norm and autocast on a CPU',
        ),
    ),
]
