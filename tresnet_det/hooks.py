"""Hooks for MMDetection's runner; what they call is tested on its own."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from .data_checks import (check_class_names, coco_datasets,
                          read_category_names)

__all__ = ['CheckClassNamesHook']


@HOOKS.register_module()
class CheckClassNamesHook(Hook):
    """Stops a run whose class names differ from its annotation files.

    It looks at every loop that the run has built (training and validation,
    or testing), before weights are initialised or loaded.

    Args:
        allow_subset: Accept categories that the config leaves out.
    """

    def __init__(self, allow_subset: bool = False) -> None:
        self.allow_subset = allow_subset

    def before_run(self, runner: Runner) -> None:
        """Checks every COCO data set of the run.

        Raises:
            ValueError: Names disagree, see ``check_class_names``.
        """
        # The public properties would build the loops that are not used.
        loops = (runner._train_loop, runner._val_loop, runner._test_loop)
        for loop in loops:
            if not isinstance(loop, BaseLoop):
                continue
            for dataset in coco_datasets(loop.dataloader.dataset):
                check_class_names(
                    dataset.metainfo['classes'],
                    read_category_names(dataset.ann_file,
                                        dataset.backend_args),
                    dataset.ann_file, self.allow_subset)
