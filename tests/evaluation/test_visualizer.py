"""Drawing detections of more classes than COCO has."""

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData
from mmengine.visualization import Visualizer

import tresnet_det  # noqa: F401  registers

COCO = CocoDataset.METAINFO['palette']


def drawn(visualizer, count, palette):
    visualizer.dataset_meta = dict(
        classes=tuple(f'c{k}' for k in range(count)), palette=palette
    )
    found = InstanceData(
        bboxes=torch.tensor([[5.0, 5, 40, 40]]),
        labels=torch.tensor([count - 1]),
        scores=torch.tensor([0.9]),
        masks=torch.ones(1, 64, 64, dtype=bool),
    )
    visualizer.add_datasample(
        '', np.zeros((64, 64, 3), np.uint8), DetDataSample(pred_instances=found)
    )
    return visualizer.get_image()


@pytest.mark.parametrize('count', [1, 80, 81, 90, 1200])
@pytest.mark.parametrize('palette', [COCO, 'random', None, []])
def test_any_number_of_classes(count, palette):
    visualizer = VISUALIZERS.build(
        dict(type='mmdet.DetLocalVisualizer', name=f'{count}')
    )
    assert drawn(visualizer, count, palette).any()
    assert Visualizer.get_current_instance() is visualizer  # as hooks find it
    if palette is COCO:
        assert visualizer.dataset_meta['palette'][: min(count, 80)] == COCO[:count]
        assert len(COCO) == 80  # it is MMDetection's own list


def test_mmdetection_does_stop():
    """If this fails, MMDetection has changed and ours may go."""
    with pytest.raises(AssertionError, match='palette'):
        drawn(DetLocalVisualizer(), 81, COCO)
