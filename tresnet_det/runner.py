"""The runner that our configs name, ``runner_type = 'CheckedRunner'``."""

from typing import Any

from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from .data_checks import check_dataset

__all__ = ['CheckedRunner']


@RUNNERS.register_module()
class CheckedRunner(Runner):
    """mmengine's runner; refuses data whose class names do not fit.

    A hook would come too late: hooks first run when the data sets are built,
    and where no name fits at all, building fails with a message about empty
    arrays. MMDetection's own tools build the runner that a config names.

    ``allow_class_subset = True`` in the config accepts annotation files with
    categories that the config leaves out.
    """

    def build_dataloader(self, dataloader: DataLoader | dict, *args: Any,
                         **kwargs: Any) -> DataLoader:
        """Checks the data set, then builds its loader as mmengine does.

        Raises:
            ValueError: Class names disagree, see ``check_class_names``.
        """
        if isinstance(dataloader, dict):
            check_dataset(dataloader['dataset'],
                          self.cfg.get('allow_class_subset', False))
        return Runner.build_dataloader(dataloader, *args, **kwargs)
