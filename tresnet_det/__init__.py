"""TResNet (arXiv:2003.13630) for MMDetection 3.x.

Importing this package checks the versions of what it builds on, registers its
modules, makes its configs known as 'tresnet_det::', lets torch.load read the
checkpoints that mmengine writes and MMDetection's visualizer draw more than 80
classes; it does nothing else.
"""

import sys

from .common.command_line import tell_import_error
from .environment.versions import __version__, check_operators, check_versions

__all__ = [
    'Bfloat16OptimWrapper',
    'CheckedRunner',
    'CheckpointError',
    'DeployedHook',
    'DistillationHook',
    'FasterCocoEvalMetric',
    'HeadSharing',
    'HeadSharingClassifier',
    'InPlaceABN',
    'LoadReport',
    'ProgressPage',
    'SharedHead',
    'StopOnNonFiniteHook',
    'SyncInPlaceABN',
    'TResNet',
    'TResNetClassifier',
    'UserError',
    'ValLossHook',
    'VerificationMetric',
    '__version__',
    'load_pretrained',
]

import_error: Exception | None = None
try:
    check_versions()
    check_operators()

    from mmdet.registry import MODELS as MMDET_MODELS
    from mmdet.registry import VISUALIZERS
    from mmengine.config.utils import MODULE2PACKAGE
    from mmengine.registry import MODELS

    from .common.errors import UserError
    from .deployment.deployed_hook import DeployedHook
    from .distillation import (
        DistillationHook,
        HeadSharing,
        HeadSharingClassifier,
        SharedHead,
    )
    from .evaluation.faster_coco import FasterCocoEvalMetric
    from .evaluation.verification import VerificationMetric
    from .evaluation.visualizer import ManyClassesVisualizer
    from .models.abn import InPlaceABN, SyncInPlaceABN
    from .models.backbone import TResNet
    from .models.classifier import TResNetClassifier
    from .training.hooks import ProgressPage, StopOnNonFiniteHook, ValLossHook
    from .training.precision import Bfloat16OptimWrapper
    from .training.runner import CheckedRunner
    from .weights.pretrained import CheckpointError, LoadReport, load_pretrained
    from .weights.publish import register_safetensors
    from .weights.safe_globals import allow_mmengine_checkpoints

    allow_mmengine_checkpoints()
    register_safetensors()
    # Under MMDetection's own name: DetInferencer and its tools build what the
    # config names, and MMDetection's stops at the 81st class.
    VISUALIZERS.register_module(
        name='DetLocalVisualizer', module=ManyClassesVisualizer, force=True
    )
    # mmengine looks beside the files of a pip package, where those of an
    # editable install are not; what is no pip package, as a module, it finds
    # by its path.
    MODULE2PACKAGE[__name__] = f'{__name__}.registry'
    for _module in (
        HeadSharing,
        HeadSharingClassifier,
        InPlaceABN,
        SharedHead,
        SyncInPlaceABN,
        TResNet,
        TResNetClassifier,
    ):
        # The root registry serves the other OpenMMLab libraries; a name with
        # the scope, 'mmdet.TResNet', is looked up in mmdet's own one only.
        MODELS.register_module(module=_module)
        MMDET_MODELS.register_module(module=_module)
except Exception as error:
    # `python -m tresnet_det.doctor` imports the package before the doctor,
    # which has to run where this fails, and tells the error.
    if sys.argv[:1] != ['-m'] or f'{__name__}.doctor' not in sys.orig_argv:
        tell_import_error(error)
        raise
    import_error = error
