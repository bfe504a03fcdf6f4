"""TResNet (arXiv:2003.13630) for MMDetection 3.x.

Importing this package checks the versions of what it builds on, registers its
modules, makes its configs known as 'tresnet_det::' and lets torch.load read
the checkpoints that mmengine writes; it does nothing else.
"""
from ._versions import __version__, check_versions

check_versions()

from mmdet.registry import MODELS as MMDET_MODELS  # noqa: E402
from mmengine.config.utils import MODULE2PACKAGE  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402

from .abn import InPlaceABN, SyncInPlaceABN  # noqa: E402
from .backbone import TResNet  # noqa: E402
from .checkpoint import (CheckpointError, LoadReport,  # noqa: E402
                         load_pretrained)
from .classifier import TResNetClassifier  # noqa: E402
from .errors import UserError  # noqa: E402
from .faster_coco import FasterCocoMetric  # noqa: E402
from .hooks import StopOnNonFiniteHook, ValLossHook  # noqa: E402
from .runner import CheckedRunner  # noqa: E402
from .safe_globals import allow_mmengine_checkpoints  # noqa: E402

__all__ = ['CheckedRunner', 'CheckpointError', 'FasterCocoMetric',
           'InPlaceABN', 'LoadReport', 'StopOnNonFiniteHook', 'SyncInPlaceABN',
           'TResNet', 'TResNetClassifier', 'UserError', 'ValLossHook',
           '__version__', 'load_pretrained']

allow_mmengine_checkpoints()
# mmengine looks beside the files of a pip package, where those of an editable
# install are not; what is no pip package, as a module, it finds by its path.
MODULE2PACKAGE[__name__] = f'{__name__}._versions'
for _module in (InPlaceABN, SyncInPlaceABN, TResNet, TResNetClassifier):
    # The root registry serves the other OpenMMLab libraries; a name with the
    # scope, 'mmdet.TResNet', is looked up in mmdet's own registry only.
    MODELS.register_module(module=_module)
    MMDET_MODELS.register_module(module=_module)
