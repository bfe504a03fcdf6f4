"""MMDetection's own command lines, found in the installed package."""

import importlib.util
from pathlib import Path

import mmdet

from ..common.command_line import tell_user_errors
from .runner.launch_checks import check_launch

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
            'released package (mmdet==3.3.0), which brings its tools along'
        )
    return tool


@tell_user_errors
def run_mmdet_tool(name: str) -> None:
    """Runs MMDetection's train.py or test.py with this process's arguments.

    Args:
        name: As for ``find_mmdet_tool``.
    """
    spec = importlib.util.spec_from_file_location('mmdet_tool', find_mmdet_tool(name))
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    check_launch(tool.parse_args)
    tool.main()
