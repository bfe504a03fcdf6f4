"""A set in COCO's format on the disk: what all that make one share."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ['place_image', 'stored_info', 'write_annotations']


def write_annotations(
    file: str | os.PathLike,
    images: Iterable[Mapping],
    annotations: Iterable[Mapping],
    categories: Iterable[Mapping],
    info: Mapping[str, Any] | None = None,
) -> None:
    """Writes an annotation file: the same content gives the same bytes.

    Args:
        file: To write; its folder is made.
        images: As COCO has them.
        annotations: Likewise.
        categories: Likewise.
        info: What made the set, by which it is known again.
    """
    content = dict(
        info=dict(info or {}),
        images=[*images],
        annotations=[*annotations],
        categories=[*categories],
    )
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding='utf-8')


def stored_info(file: str | os.PathLike) -> Any:
    """What an annotation file says made it; None if it says nothing."""
    try:
        return json.loads(Path(file).read_text('utf-8'))['info']
    except (OSError, ValueError, KeyError, TypeError):
        return None


def place_image(source: str | os.PathLike, target: Path, how: str = 'copy') -> None:
    """Puts an image into a set.

    Args:
        source: The image.
        target: Its new path; folders are made.
        how: 'copy', 'link' (to where the source lies) or 'move'.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if how == 'link':
        target.symlink_to(Path(source).resolve())
    elif how == 'move':
        shutil.move(source, target)
    else:
        shutil.copyfile(source, target)
