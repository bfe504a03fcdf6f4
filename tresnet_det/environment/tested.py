"""The combinations of versions on which the test suite was run.

The documentation's table and the doctor say nothing else: a combination that is not
here was not tested. tools/setup/test_stack.py runs one.
"""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ['TESTED', 'SuiteRun']


class SuiteRun(NamedTuple):
    """A run of the whole suite.

    Attributes:
        stack: Its name in tools/setup.
        versions: Import name -> version.
        day: When the suite was run.
        result: As tools/setup/test_stack.py prints it.
    """

    stack: str
    versions: Mapping[str, str]
    day: str
    result: str

    def __str__(self) -> str:
        """A row of the documentation's table."""
        versions = ', '.join(map(' '.join, self.versions.items()))
        return f'| {self.stack} | {versions} | {self.day} | {self.result} |'


TESTED = (
    SuiteRun(
        'pinned',
        {
            'torch': '2.14.1',
            'numpy': '2.2.6',
            'mmengine': '0.10.7',
            'mmcv': '2.1.0',
            'mmdet': '3.3.0',
        },
        '2026-11-29',
        '3934 passed, 3 skipped, 0 failed',
    ),
    SuiteRun(
        'torch21',
        {
            'torch': '2.1.2',
            'numpy': '1.26.4',
            'mmengine': '0.10.7',
            'mmcv': '2.1.0',
            'mmdet': '3.3.0',
        },
        '2026-11-29',
        '3719 passed, 82 skipped, 0 failed',
    ),
    SuiteRun(
        'onedl',
        {
            'torch': '2.15.0',
            'numpy': '2.4.6',
            'mmengine': '0.10.12',
            'mmcv': '2.3.6',
            'mmdet': '3.5.1',
        },
        '2026-11-29',
        '3879 passed, 5 skipped, 0 failed',
    ),
)
