"""One training step and one prediction of a detector."""

import torch
from mmdet.models import BaseDetector
from mmdet.testing import demo_mm_inputs


def check_one_step_and_one_prediction(model: BaseDetector, num_classes: int) -> None:
    """On one small image: gradients where they belong, boxes as they should."""
    data = demo_mm_inputs(
        1, [[3, 96, 128]], with_mask=model.with_mask, num_classes=num_classes
    )
    model.train()
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        assert (gradient is not None) == parameter.requires_grad, name
        assert gradient is None or gradient.isfinite().all(), name
    model.eval()
    with torch.no_grad():
        results = model(**model.data_preprocessor(data, False), mode='predict')
    found = results[0].pred_instances
    assert found.bboxes.shape == (len(found), 4)
    assert ('masks' in found) == model.with_mask
