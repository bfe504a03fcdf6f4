""".venv: one stack, mmcv with its ops and this package, or nothing.

What is wanted stands in setup.cfg, the versions in stacks.py. A stamp
in .venv, empty at first and filled at the very end, tells a finished .venv
from one to make anew: pip would trust half-copied files.
"""

import configparser
import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO, Mapping, Optional

from checks import check_compiler, check_disk, check_python
from mmcv_wheel import build_wheel, cache_folder, find_wheel, keep
from stacks import PINNED, Stack
from steps import SetupError, run, say

STAMP = 'tresnet_det.stamp'
PROOF = """
from importlib.metadata import version
import mmcv.ops, mmdet, mmengine, torch, tresnet_det
print(f"mmcv.ops, mmdet, tresnet_det import: tresnet_det "
      f"{version('tresnet_det')}, mmdet {mmdet.__version__}, mmcv "
      f"{mmcv.__version__}, mmengine {mmengine.__version__}, torch "
      f"{torch.__version__}")
"""


def digest(stack: Stack, settings: Path, venv: Path) -> str:
    """A hash of what decides over the contents of .venv."""
    parser = configparser.ConfigParser()
    parser.read(str(settings))
    wanted = [
        sorted(parser[name].items())
        for name in parser.sections()
        if name.startswith(('metadata', 'options'))
    ]
    return hashlib.sha256(
        repr((str(venv), stack, stack.pins(), wanted)).encode()
    ).hexdigest()


def is_ready(venv: Path, want: str) -> bool:
    stamp = venv / STAMP
    return stamp.is_file() and stamp.read_text() == want


def begin(venv: Path) -> None:
    """Clears the place for .venv, if what stands there is ours."""
    if venv.exists():
        if not (venv / STAMP).is_file():
            raise SetupError(
                f'{venv} exists and was not made by `make setup`'
                '; move it away or delete it'
            )
        say('removing the .venv that is unfinished or out of date')
        shutil.rmtree(str(venv))
    venv.mkdir()
    (venv / STAMP).touch()


def prove(python: Path) -> str:
    """The line that tells that all imports, and in which versions.

    Raises:
        SetupError: something does not import.
    """
    try:
        done = subprocess.run(
            [str(python), '-I', '-c', PROOF],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        return done.stdout.decode().splitlines()[-1]
    except OSError as error:
        why = str(error)
    except subprocess.CalledProcessError as error:
        why = (error.stderr.decode().strip() or str(error)).splitlines()[-1]
    raise SetupError(
        f'{python} does not import what it should: {why} (if the '
        'code here is not the cause: make clean setup)'
    )


def fill(
    stack: Stack, root: Path, venv: Path, log: IO[bytes], environ: Mapping[str, str]
) -> None:
    """Makes .venv from nothing."""
    check_python()
    wheel = find_wheel(stack, environ)
    if wheel is None:
        check_compiler(environ)
    begin(venv)
    check_disk(venv)
    python = venv / 'bin' / 'python'
    pins = venv / 'constraints.txt'
    pins.write_text(stack.constraints())
    # -I: a PYTHONPATH of the user's would make pip think things installed.
    pip = [str(python), '-I', '-m', 'pip']
    install = pip + ['install', '-c', str(pins)]
    run('making .venv', [sys.executable, '-m', 'venv', str(venv)], log)
    run(
        'installing torch',
        install + ['setuptools', 'wheel', 'ninja', 'torch', 'torchvision'],
        log,
        cost='3 GB to download where pip has no copy',
    )
    built = venv / 'build'
    if wheel is None:
        built.mkdir()
        wheel = build_wheel(stack, pip, built, log, environ)
    run(
        f'installing the stack {stack.name} and this package',
        install
        + [
            '--no-build-isolation',
            str(wheel),
            '-e',
            f'{root}[{stack.extra},test,docs]',
        ],
        log,
    )
    # The stack asks for opencv-python, whose cv2 needs libGL of the system.
    # This one is the same without windows, and is laid over it.
    run(
        'installing OpenCV for machines without a screen',
        install + ['--no-deps', 'opencv-python-headless'],
        log,
    )
    run(
        f'trying mmcv.ops of {wheel}',
        [str(python), '-I', '-c', 'import mmcv.ops, mmdet'],
        log,
    )
    if built.exists():
        keep(wheel, cache_folder(stack, environ))
        shutil.rmtree(str(built))


def set_up(
    root: Path,
    environ: Mapping[str, str],
    stack: Stack = PINNED,
    venv: Optional[Path] = None,
) -> Path:
    """Makes .venv where it is not ready, and proves that it works.

    Args:
        root: this repository.
        environ: environment of the commands.
        stack: what to install.
        venv: another place than .venv in the root.

    Returns:
        the Python in it.

    Raises:
        SetupError: it cannot be made, or does not work.
    """
    venv = venv or root / '.venv'
    want = digest(stack, root / 'setup.cfg', venv)
    if not is_ready(venv, want):
        with open(str(venv.with_name('.setup.log')), 'ab') as log:
            # The lock is on the log, which the commands hold as their output:
            # if this process is killed, the next waits for the orphan's end.
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                say('waiting for the set-up that is running here')
                fcntl.flock(log, fcntl.LOCK_EX)
            if not is_ready(venv, want):
                log.truncate(0)
                fill(stack, root, venv, log, environ)
                (venv / STAMP).write_text(want)
    say(prove(venv / 'bin' / 'python'))
    return venv / 'bin' / 'python'
