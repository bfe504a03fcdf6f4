"""This package's version, and the ranges of what it runs on.

The ranges cannot be requirements of the distribution: OpenMMLab's stack and
the maintained fork install the same import names under other distribution
names, and pip would lay one over the other. So they are checked at import,
by import name.
"""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

from packaging.specifiers import SpecifierSet

__all__ = [
    'OPERATORS',
    'RANGES',
    '__version__',
    'check_operators',
    'check_versions',
    'commit',
]

__version__ = '0.1.0'
PACKAGE = Path(__file__).parents[1]

RANGES = {  # in the order in which they import one another
    'torch': '>=2.1',
    'mmengine': '>=0.10,<1',
    'mmcv': '>=2.1,<3',
    'mmdet': '>=3.3,<4',
}
# What mends operators that are absent or do not fit. mmdet 3.3 refuses mmcv
# 2.2, so that the version is named.
OPERATORS = (
    'mmcv must be built for this torch, with its operators: `make setup` in a '
    'clone of this project does it. Elsewhere: pip uninstall mmcv-lite mmcv; '
    'MMCV_WITH_OPS=1 pip install --no-build-isolation --no-binary mmcv '
    '--no-deps mmcv==2.1.0 (of the fork: onedl-mmcv). Its setup.py asks for '
    'C++17; recent torch needs -std=c++20 there, which `make setup` writes'
)
_REMEDY = {'torch': 'pip install "torch{}"'}
_MM_REMEDY = (
    'pip install "tresnet_det[openmmlab]" (or [onedl], the '
    'maintained fork) into a fresh environment'
)


def check_versions(ranges: Mapping[str, str] = RANGES) -> None:
    """Imports what this package builds on and compares the versions.

    Args:
        ranges: import name -> version specifier (PEP 440).

    Raises:
        ImportError: a package is missing, fails to import (mmdet refuses an
            mmcv that does not fit it) or is outside its range; the message
            says what came, what was expected and how to mend it.
    """
    for name, wanted in ranges.items():
        remedy = _REMEDY.get(name, _MM_REMEDY).format(wanted)
        try:
            found = importlib.import_module(name).__version__
        except (ImportError, AssertionError) as error:
            raise ImportError(
                f'tresnet_det needs {name}{wanted}, and importing {name} '
                f'fails with: {error} To mend it: {remedy}'
            ) from error
        if not SpecifierSet(wanted).contains(found, prereleases=True):
            raise ImportError(
                f'tresnet_det needs {name}{wanted}, but '
                f'{found} is installed. To mend it: {remedy}'
            )


def check_operators() -> None:
    """Imports MMCV's compiled operators, which MMDetection needs.

    Raises:
        ImportError: They are absent or built for another torch.
    """
    try:
        importlib.import_module('mmcv._ext')
    except ImportError as error:
        raise ImportError(
            'tresnet_det needs the compiled operators of mmcv, and importing '
            f'them fails with: {error} Either mmcv-lite is installed or an '
            f'mmcv that was built for another torch. To mend it: {OPERATORS}'
        ) from error


def commit() -> str:
    """The version of this package and, in a clone of it, git's name of it."""

    def git(*command: str) -> str:
        try:
            return subprocess.run(
                ['git', *command],
                cwd=PACKAGE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                check=True,
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):  # no git, no clone
            return ''

    version = f'tresnet_det {__version__}'
    # An installed package may lie in another project's clone.
    if not git('ls-files', '__init__.py'):
        return version
    described = git('describe', '--always', '--dirty', '--abbrev=10')
    return f'{version}, commit {described}'
