"""Says on one screen what this environment is and what is broken in it.

Works where the package itself cannot be imported. Each problem comes with
its remedy.
"""

import importlib
import importlib.metadata
import shutil
import textwrap
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from .doctor_checks import Facts, Finding, examine
from .memory import free_ram
from .versions import RANGES

__all__ = ['collect', 'main', 'screen']

MODULES = ('numpy', *RANGES, 'mmcv.ops', 'pkg_resources')


def _imported(name: str) -> Any:
    """A module, or the error of importing it."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        return error


def _free_disk(*folders: str) -> float | None:
    """Bytes free at the first of them that is there."""
    for folder in folders:
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            pass
    return None


def _registered() -> dict[str, Collection[str]]:
    try:
        return {
            name: importlib.import_module(f'{name}.registry').MODELS.module_dict
            for name in ('mmengine', 'mmdet')
        }
    except Exception:  # said already of the module that fails
        return {}


def collect(failure: Exception | None) -> Facts:
    """Look at this environment; imports all that the package builds on.

    Args:
        failure: Why the package itself cannot be imported, if it cannot.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # they would hide the screen
        modules = {name: _imported(name) for name in MODULES}
    return Facts(
        modules=modules,
        failure=failure,
        providers=importlib.metadata.packages_distributions(),
        registered=_registered(),
        gpus=len(list(Path('/dev').glob('nvidia[0-9]*'))),
        disk=_free_disk('.'),
        memory=free_ram(),
        shared=_free_disk('/dev/shm', '.'),
    )


def screen(findings: Sequence[Finding]) -> str:
    """All findings, a line each; below a problem, what mends it."""
    lines = []
    for name, found, remedy in findings:
        mark = ' ' if remedy is None else '!'
        # One line of an error is enough, and a screen has 80 columns.
        text = f'{mark} {name:15}{found.strip().splitlines()[0]}'
        lines += textwrap.wrap(text, 79, subsequent_indent=' ' * 17)
        if remedy is not None:
            lines += textwrap.wrap(
                f'-> {remedy}', 79, initial_indent=' ' * 17, subsequent_indent=' ' * 20
            )
    problems = sum(finding.remedy is not None for finding in findings)
    return '\n'.join(
        [*lines, f'{problems or "no"} problem{"" if problems == 1 else "s"} found']
    )


def main(failure: Exception | None) -> int:
    """Prints the screen; 1 if there is a problem, else 0.

    Args:
        failure: As of ``collect``.
    """
    findings = examine(collect(failure))
    print(screen(findings))
    return int(any(finding.remedy is not None for finding in findings))
