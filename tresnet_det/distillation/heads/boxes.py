"""The box head of a detector of two stages.

It sees what is cut out of the maps: here where the student's own proposals
are, of the student's maps and of the teacher's.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmdet.utils import reduce_mean
from torch import Tensor, nn

from ..losses import box_loss, softmax_divergence
from .apart import Seen
from .dense import Part, described

__all__ = ['Boxes']


class Boxes(Part):
    """Like a dense head, with a softmax over classes and a box for each."""

    def family(self, model: Any) -> type | None:
        from mmdet.models.roi_heads import StandardRoIHead

        roi_head = model.roi_head
        usual = isinstance(roi_head, StandardRoIHead) and (
            type(roi_head)._bbox_forward is StandardRoIHead._bbox_forward
        )
        # Nor one with layers of its own between cutting out and the head.
        usual = usual and not roi_head.with_shared_head
        return super().family(model) if usual else None

    @contextmanager
    def watched(self, model: Any, depth: int) -> Iterator[Seen]:
        def cut(_: nn.Module, given: tuple) -> None:
            seen.rois = given[1]

        with super().watched(model, depth) as seen:
            handle = model.roi_head.bbox_roi_extractor.register_forward_pre_hook(cut)
            try:
                yield seen
            finally:
                handle.remove()

    def told(self, teacher: Any, maps: Sequence[Tensor], seen: Seen) -> Sequence[Any]:
        extractor = teacher.roi_head.bbox_roi_extractor
        return self.head(teacher)(extractor(maps[: extractor.num_inputs], seen.rois))

    def found(self, rest: nn.Module, rows: list[tuple[Tensor, ...]]) -> Sequence[Any]:
        return rest(rows[0])

    def losses(
        self,
        head: Any,
        found: Sequence[Any],
        told: Sequence[Any],
        seen: Seen,
        weights: Mapping[str, float],
        temperature: float,
    ) -> dict[str, Tensor]:
        (classes, boxes), (wanted, wanted_boxes) = found, told
        losses = {}
        if weights['cls']:
            count = torch.tensor(float(len(classes)), device=classes.device)
            count = reduce_mean(count).clamp(min=1.0)
            losses['cls'] = softmax_divergence(classes, wanted, temperature) / count
        if weights['box']:
            assert seen.rois is not None
            # The box of the class that the teacher thinks of, if it is an object.
            best, label = wanted.float().softmax(-1)[:, :-1].max(-1)
            own, target = (
                head.bbox_coder.decode(
                    seen.rois[:, 1:], _of_class(each.float(), label, head)
                )
                for each in (boxes, wanted_boxes)
            )
            count = reduce_mean(best.sum()).clamp(min=1.0)
            losses['box'] = box_loss(own, target, best) / count
        return {name: weights[name] * loss for name, loss in losses.items()}

    def facts(self, model: Any) -> dict[str, Any]:
        head, extractor = self.head(model), model.roi_head.bbox_roi_extractor
        layers = [described(layer) for layer in extractor.roi_layers]
        return {
            'number of classes': head.num_classes,
            'softmax classes': _is_softmax(head),
            'a box for each class': not head.reg_class_agnostic,
            'coder of boxes': described(head.bbox_coder),
            'strides of the maps': list(extractor.featmap_strides),
            'how maps are cut out': (
                type(extractor).__name__,
                getattr(extractor, 'finest_scale', None),
                layers,
            ),
        }

    def unfit(self, model: Any) -> str:
        head = self.head(model)
        if not (head.with_cls and head.with_reg):
            return 'find no classes or no boxes'
        if not _is_softmax(head):
            return (
                'use no plain softmax over classes; only box heads with one '
                '(CrossEntropyLoss, use_sigmoid=False) can be shared'
            )
        return ''


def _is_softmax(head: Any) -> bool:
    return not (
        getattr(head.loss_cls, 'use_sigmoid', False) or head.custom_cls_channels
    )


def _of_class(boxes: Tensor, label: Tensor, head: Any) -> Tensor:
    """The box of one class a row, from those of all."""
    if head.reg_class_agnostic:
        return boxes
    size = head.bbox_coder.encode_size
    rows = torch.arange(len(label), device=label.device)
    return boxes.view(len(boxes), head.num_classes, size)[rows, label]
