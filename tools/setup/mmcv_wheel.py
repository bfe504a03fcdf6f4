"""A wheel of mmcv with its compiled ops: found, or built and kept.

mmcv publishes none for the torch of most stacks.
"""

import os
import platform
import shutil
from pathlib import Path
from typing import IO, List, Mapping, Optional

from checks import PYTHON
from stacks import Stack
from steps import SetupError, run, say

CORE_MINUTES = 15.0  # measured on 2 cores: 7 min 6 s and 7 min 44 s
GB_PER_JOB = 2.3  # the compiler's peak on one large file of mmcv


def has_gpu() -> bool:
    return any(Path('/dev').glob('nvidia[0-9]*'))


def with_cuda(environ: Mapping[str, str]) -> bool:
    """Whether mmcv's ops shall be built for the GPU too."""
    if 'FORCE_CUDA' in environ:
        return environ['FORCE_CUDA'] == '1'
    return has_gpu() and bool(shutil.which('nvcc', path=environ.get('PATH')))


def cache_folder(stack: Stack, environ: Mapping[str, str]) -> Path:
    """Where our builds of mmcv are kept.

    A wheel's name tells Python and platform; the folder's name tells what
    else the binary depends on.
    """
    base = environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    key = (
        f'torch{stack.pins()["torch"]}',
        ''.join(platform.libc_ver()),
        'cuda' if with_cuda(environ) else 'cpu',
    )
    return Path(base) / 'tresnet_det' / 'wheels' / '-'.join(key)


def file_name(stack: Stack) -> str:
    """How the names of its source and its wheel begin."""
    return f'{stack.mmcv.replace("-", "_")}-{stack.pins()[stack.mmcv]}'


def find_wheel(stack: Stack, environ: Mapping[str, str]) -> Optional[Path]:
    """A ready wheel: from MMCV_WHEEL_DIR, else of an earlier build."""
    folders = [cache_folder(stack, environ)]
    if environ.get('MMCV_WHEEL_DIR'):
        folders.insert(0, Path(environ['MMCV_WHEEL_DIR']).resolve())
    python = 'cp{}{}'.format(*PYTHON)
    name = f'{file_name(stack)}-{python}-{python}-*linux*_{platform.machine()}.whl'
    for folder in folders:
        for wheel in sorted(folder.glob(name)):
            say(f'takes the ready {wheel}')
            return wheel
        say(f'there is no {name} in {folder}')
    return None


def use_cxx(setup_py: Path, standard: str) -> None:
    """mmcv asks for C++17, the headers of recent torch need C++20."""
    text = setup_py.read_text()
    if '-std=c++17' not in text:
        raise SetupError(
            f'{setup_py} asks for -std=c++17 nowhere: mend '
            'use_cxx in tools/setup for this version'
        )
    setup_py.write_text(text.replace('-std=c++17', f'-std={standard}'))


def jobs(environ: Mapping[str, str]) -> int:
    """How many files to compile at once: as cores and memory allow."""
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9
    able = min(len(os.sched_getaffinity(0)), int(memory / GB_PER_JOB))
    return int(environ.get('MAX_JOBS') or max(able, 1))


def build_wheel(
    stack: Stack, pip: List[str], work: Path, log: IO[bytes], environ: Mapping[str, str]
) -> Path:
    """Builds mmcv with its ops from the published source."""
    version, number = stack.pins()[stack.mmcv], jobs(environ)
    what = f'{stack.mmcv} {version}'
    run(
        f'fetching the source of {what}',
        pip
        + [
            'download',
            '--no-deps',
            '--no-binary',
            stack.mmcv,
            '-d',
            str(work),
            '--no-build-isolation',
            f'{stack.mmcv}=={version}',
        ],
        log,
    )
    source = work / file_name(stack)
    shutil.unpack_archive(f'{source}.tar.gz', str(work))
    use_cxx(source / 'setup.py', stack.cxx)
    build = dict(
        environ,
        MMCV_WITH_OPS='1',
        MAX_JOBS=str(number),
        PATH=os.pathsep.join([str(Path(pip[0]).parent), environ['PATH']]),
        # Debug information would cost 5 more minutes on 2 cores.
        CFLAGS=environ.get('CFLAGS', '') + ' -g0',
        FORCE_CUDA=str(int(with_cuda(environ))),
    )
    if not with_cuda(environ):
        build['CUDA_VISIBLE_DEVICES'] = ''  # else mmcv asks for nvcc
        if has_gpu():
            say(
                'no nvcc beside this GPU: mmcv.ops will run on the CPU only; '
                'for the GPU install the CUDA toolkit, then make clean setup'
            )
    run(
        f'building {what} with its ops',
        pip
        + [
            'wheel',
            '-v',
            '--no-deps',
            '--no-build-isolation',
            '-w',
            str(work),
            str(source),
        ],
        log,
        build,
        cost=f'{number} files at a time, about {CORE_MINUTES / number:.0f} '
        'minutes, only this once',
    )
    return next(work.glob(f'{file_name(stack)}-*.whl'))


def keep(wheel: Path, folder: Path) -> None:
    """Copies a wheel into the cache, whole or not at all."""
    part = folder / f'{wheel.name}.{os.getpid()}'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(wheel), str(part))
        os.replace(str(part), str(folder / wheel.name))
    except OSError as error:
        say(f'cannot keep the wheel for the next time: {error}')
    else:
        say(f'keeps the wheel in {folder}')
    finally:
        if part.exists():
            part.unlink()
