"""MMDetection's own command lines, found in the installed package."""

import runpy
from pathlib import Path

import mmdet

__all__ = ['find_mmdet_tool', 'run_mmdet_tool']


def find_mmdet_tool(name: str) -> Path:
    """Path of one of MMDetection's tools.

    Args:
        name: Path below MMDetection's ``tools`` folder, such as ``train.py``.

    Raises:
        FileNotFoundError: The installed MMDetection lacks it.
    """
    tool = Path(mmdet.__file__).parent / '.mim' / 'tools' / name
    if not tool.is_file():
        raise FileNotFoundError(
            f'MMDetection {mmdet.__version__} has no {tool}: install the '
            'released package (mmdet==3.3.0), which brings its tools along')
    return tool


def run_mmdet_tool(name: str) -> None:
    """Runs one of MMDetection's tools with this process's arguments.

    Args:
        name: As for ``find_mmdet_tool``.
    """
    runpy.run_path(str(find_mmdet_tool(name)), run_name='__main__')
