"""Drawing detections of any number of classes."""

from typing import Any

from mmdet.visualization import DetLocalVisualizer
from mmdet.visualization.palette import get_palette

__all__ = ['ManyClassesVisualizer']


class ManyClassesVisualizer(DetLocalVisualizer):
    """MMDetection's visualizer, which has colours for every class.

    A config that names its classes and no palette keeps the 80 colours of
    COCO, and MMDetection's stops with an assertion at the 81st class.
    """

    @property
    def dataset_meta(self) -> dict | None:
        """What is known of the data set: class names, a palette."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict | None) -> None:
        meta: dict[str, Any] = dict(dataset_meta or {})
        palette, count = meta.get('palette'), len(meta.get('classes') or ())
        if isinstance(palette, list) and len(palette) < count:
            more = get_palette('random', count)[len(palette) :]
            meta['palette'] = [*palette, *(tuple(map(int, color)) for color in more)]
        self._dataset_meta = meta
