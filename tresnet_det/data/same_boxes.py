"""Boxes that stand twice."""

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ['boxes_twice']


def boxes_twice(content: Mapping[str, Any]) -> Iterator[dict]:
    """Annotations that repeat an earlier one: image, category, box and crowd.

    Args:
        content: COCO annotations, each field of the right type.
    """
    known = set()
    for annotation in content['annotations']:
        key = (
            annotation['image_id'],
            annotation['category_id'],
            bool(annotation.get('iscrowd')),
            *annotation['bbox'],
        )
        if key in known:
            yield annotation
        known.add(key)
