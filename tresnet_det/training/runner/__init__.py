"""The runner that our configs name, ``runner_type = 'CheckedRunner'``."""

from mmengine.registry import RUNNERS

from .input_checks import InputCheckedRunner
from .resumable import ResumableRunner

__all__ = ['CheckedRunner']


@RUNNERS.register_module()
class CheckedRunner(InputCheckedRunner, ResumableRunner):
    """mmengine's runner; refuses what cannot end well, goes on after a stop.

    MMDetection's own tools build the runner that a config names.
    """
