"""FCOS at the size of COCO's images; needs MMDetection."""

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.hub import get_config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

__all__ = ['DETECTORS', 'Detector']

DETECTORS = {
    'FCOS, TResNet-M': 'tresnet_det::fcos/fcos_tresnet-m_fpn_1x_coco.py',
    'FCOS, TResNet-L': 'tresnet_det::fcos/fcos_tresnet-l_fpn_1x_coco.py',
    'FCOS, ResNet-50': (
        'mmdet::fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-'
        'centeronreg-giou_1x_coco.py'
    ),
}
BOXES = 7  # an image of COCO has as many, on average


class Detector:
    """A detector with random weights and a batch of noise with random boxes.

    Args:
        name: Of ``DETECTORS``.
        device: Where it is.
        size: Height and width of the images.
        batch: Images.
    """

    def __init__(
        self, name: str, device: torch.device, size: tuple[int, int], batch: int
    ) -> None:
        cfg = get_config(DETECTORS[name]).model
        cfg.backbone.init_cfg = None
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope('mmdet'):
            self.model: BaseModel = MODELS.build(cfg).to(device)
        self.device = device
        self.images = torch.randn(batch, 3, *size).to(device)
        height, width = size
        corners = torch.rand(batch, BOXES, 2, 2).sort(dim=2).values
        boxes = corners.flatten(2) * torch.tensor([width, height, width, height])
        self.samples = []
        for own in boxes.to(device):
            sample = DetDataSample(
                metainfo=dict(
                    img_shape=size,
                    ori_shape=size,
                    pad_shape=size,
                    batch_input_shape=size,
                    scale_factor=(1.0, 1.0),
                )
            )
            sample.gt_instances = InstanceData(
                bboxes=own, labels=torch.randint(80, (BOXES,), device=device)
            )
            self.samples.append(sample)

    def train_step(self, dtype: torch.dtype) -> None:
        """Losses of the whole batch and their gradients."""
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            losses = self.model(self.images, self.samples, mode='loss')
        self.model.parse_losses(losses)[0].backward()
        self.model.zero_grad(set_to_none=True)

    @torch.no_grad()
    def infer(self, dtype: torch.dtype) -> None:
        """Images to boxes."""
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            self.model(self.images, self.samples, mode='predict')
