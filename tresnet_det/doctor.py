"""Says on one screen what this environment is and what is broken in it.

    python -m tresnet_det.doctor

Works where the package itself cannot be imported. Each problem comes with
its remedy; the exit status is 1 if there is one, else 0.
"""
import importlib
import importlib.metadata
import shutil
import sys
import textwrap
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import tresnet_det

from ._versions import RANGES
from .doctor_checks import Facts, Finding, examine

__all__ = ['collect', 'main', 'screen']

MODULES = ('numpy', *RANGES, 'mmcv.ops', 'pkg_resources')


def _imported(name: str) -> Any:
    """A module, or the error of importing it."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        return error


def _free_memory() -> float:
    with open('/proc/meminfo') as file:
        lines = dict(line.split(':') for line in file)
    return 1024 * float(lines['MemAvailable'].split()[0])


def _registered() -> dict[str, Collection[str]]:
    try:
        return {name: importlib.import_module(
                    f'{name}.registry').MODELS.module_dict
                for name in ('mmengine', 'mmdet')}
    except Exception:  # said already of the module that fails
        return {}


def collect() -> Facts:
    """Look at this environment; imports all that the package builds on."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # they would hide the screen
        modules = {name: _imported(name) for name in MODULES}
    shared = Path('/dev/shm')
    return Facts(
        modules=modules,
        failure=tresnet_det.import_error,
        providers=importlib.metadata.packages_distributions(),
        registered=_registered(),
        gpus=len(list(Path('/dev').glob('nvidia[0-9]*'))),
        disk=shutil.disk_usage('.').free,
        memory=_free_memory(),
        shared=shutil.disk_usage(shared if shared.is_dir() else '.').free)


def screen(findings: Sequence[Finding]) -> str:
    """All findings, a line each; below a problem, what mends it."""
    lines = []
    for name, found, remedy in findings:
        mark = ' ' if remedy is None else '!'
        # One line of an error is enough, and a screen has 80 columns.
        text = f'{mark} {name:15}{found.strip().splitlines()[0]}'
        lines += textwrap.wrap(text, 79, subsequent_indent=' ' * 17)
        if remedy is not None:
            lines += textwrap.wrap(f'-> {remedy}', 79,
                                   initial_indent=' ' * 17,
                                   subsequent_indent=' ' * 20)
    problems = sum(finding.remedy is not None for finding in findings)
    return '\n'.join([*lines, f'{problems or "no"} problem'
                      f'{"" if problems == 1 else "s"} found'])


def main() -> int:
    findings = examine(collect())
    print(screen(findings))
    return int(any(finding.remedy is not None for finding in findings))


if __name__ == '__main__':
    sys.exit(main())
