"""Does the head have as many classes as the data?"""

from mmdet.engine.hooks import NumClassCheckHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...common.errors import UserError

__all__ = ['ClassCountHook']


@HOOKS.register_module()
class ClassCountHook(NumClassCheckHook):
    """MMDetection's check, with the remedy in place of an assertion.

    Raises:
        UserError: A head's ``num_classes`` is not the number of classes.
    """

    def _check_head(self, runner: Runner, mode: str) -> None:
        try:
            super()._check_head(runner, mode)
        except AssertionError as error:
            raise UserError(
                f'{error}. Set num_classes of the heads in the config'
            ) from error
