"""A hook that evaluates with the folded network."""

from typing import Any

import torch.nn as nn
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from .folding import deployed
from .packed import packed

__all__ = ['DeployedHook']


@HOOKS.register_module()
class DeployedHook(Hook):
    """Tests a detector whose norms are folded into its convs, see `deployed`.

    Put ``custom_hooks = [dict(type='DeployedHook')]`` into a config. Training and
    its validation are left alone. It runs after EMAHook has put in the
    averaged weights.
    """

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self._trained: nn.Module | None = None

    def before_test_epoch(self, runner: Any) -> None:
        """Puts the folded copy in the runner's place of the model."""
        self._trained = runner.model
        bare = runner.model.module if is_model_wrapper(runner.model) else runner.model
        # A wrapper is for gradients, of which testing has none.
        runner.model = packed(deployed(bare))
        runner.logger.info('testing with norms folded into convs')

    def after_test_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        """Gives the runner its model back."""
        if self._trained is not None:
            runner.model, self._trained = self._trained, None
