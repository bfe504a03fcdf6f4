"""Parameters and multiply-adds of a detector, without computing any.

The model stands on the meta device, which knows shapes alone: no weights, no
data, and a second a detector instead of the half a minute that tracing it on
one CPU core takes.
"""

from copy import deepcopy
from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch.utils.flop_counter import FlopCounterMode

from ..common.errors import UserError

__all__ = ['Complexity', 'backbone_name', 'detector_complexity']


class Complexity(NamedTuple):
    """What a detector holds and computes.

    Attributes:
        params: Number of parameters, frozen ones and the head's included.
        macs: Multiply-adds of one image.
    """

    params: int
    macs: int


def detector_complexity(cfg: Config, size: tuple[int, int]) -> Complexity:
    """Counts parameters and multiply-adds of a single-stage detector.

    Counted are convolutions and matrix products of backbone, neck and head,
    up to decoding. MMDetection's ``get_flops.py`` runs the same part and has
    the same count for them (a multiply-add is one of its "flops"); it adds
    normalisations and upsampling, 0.1 to 0.4 % here, as far as its list of
    operators knows them.

    Args:
        cfg: Config of the detector.
        size: Height and width of the image, as the backbone gets it.

    Raises:
        UserError: The detector cannot be counted: it has a second stage,
            whose cost depends on the proposals, or does not run on the meta
            device. On a CPU it may, but there deformable convolutions would
            be missing from the count.
    """
    try:
        # Parts that mmengine itself builds are looked up in the default scope.
        with (
            DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmdet')),
            torch.device('meta'),
        ):
            model = MODELS.build(deepcopy(cfg.model))  # DETR writes to it
            image = torch.empty(1, 3, *size)
        if getattr(model, 'with_roi_head', False):
            raise ValueError('the cost of its second stage depends on the proposals')
        model.eval()
        # DETR looks there for the padding.
        sample = DetDataSample(
            metainfo=dict(img_shape=size, batch_input_shape=size, pad_shape=size)
        )
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(image, [sample], mode='tensor')
    except Exception as error:  # each operator has its own
        reason = ': '.join(
            filter(None, [type(error).__name__, *str(error).strip().splitlines()[:1]])
        )
        raise UserError(
            f'{cfg.model.type} cannot be counted without data ({reason}); '
            "expected is one stage of torch's operators. MMDetection's "
            'tools/analysis_tools/get_flops.py counts on images'
        ) from error
    # torch counts a multiplication and an addition as two.
    return Complexity(
        sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2
    )


def backbone_name(cfg: Config) -> str:
    """Type and size of a detector's backbone: TResNet-V2-L, ResNet-50."""
    backbone = cfg.model.backbone
    size = backbone.get('arch', backbone.get('depth'))
    if not isinstance(size, (str, int)):  # a table of depths, or none
        return backbone.type
    return f'{backbone.type}-{str(size).upper().replace("_", "-")}'
