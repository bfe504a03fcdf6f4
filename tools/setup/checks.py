"""What the machine must have, checked before anything is changed on it."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Mapping, Sequence, Tuple

from steps import SetupError, telling

PYTHON = (3, 11)
DISK_GB = 7.0  # .venv takes 6.3 GB, the build of mmcv 0.1 GB for a while


def check_python(
    version: Tuple[int, ...] = sys.version_info[:3],
    modules: Sequence[str] = ('ensurepip', 'venv'),
) -> None:
    if tuple(version[:2]) != PYTHON:
        raise SetupError(
            f'{sys.executable} is Python {version[0]}.{version[1]}, but the '
            'pinned stack wants 3.11; install it, or name it: '
            'make setup PYTHON=/path/to/python3.11'
        )
    for module in modules:
        try:
            __import__(module)
        except ImportError:
            raise SetupError(
                f'{sys.executable} lacks the module {module}; install it, on '
                'Debian: apt-get install python3.11-venv'
            ) from None


def check_disk(folder: Path, needed_gb: float = DISK_GB) -> None:
    free = shutil.disk_usage(str(folder)).free / 1e9
    if free < needed_gb:
        raise SetupError(
            f'{folder} has {free:.1f} GB free, but .venv needs '
            f'{needed_gb:.1f} GB; free some space'
        )


def check_compiler(environ: Mapping[str, str]) -> None:
    """Compiles two lines as mmcv's sources will be compiled."""
    remedy = (
        'mmcv must be built from source, for no wheel is found: install '
        'g++ 11 or newer and the headers of Python, on Debian: apt-get '
        'install g++ python3.11-dev; or name a folder with a wheel of '
        'it in MMCV_WHEEL_DIR'
    )
    cxx = environ.get('CXX', 'c++').split()
    for name in (cxx[0], environ.get('CC', 'gcc').split()[0]):
        if not shutil.which(name, path=environ.get('PATH')):
            raise SetupError(f'there is no compiler {name}; {remedy}')
    done = subprocess.run(
        cxx
        + [
            '-std=c++20',
            '-fsyntax-only',
            '-x',
            'c++',
            '-',
            '-I',
            sysconfig.get_path('include'),
        ],
        env=dict(environ),
        input=b'#include <concepts>\n#include <Python.h>\n',
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise SetupError(
            f'{cxx[0]} cannot compile C++20 against Python: '
            f'{telling(done.stdout)}; {remedy}'
        )
