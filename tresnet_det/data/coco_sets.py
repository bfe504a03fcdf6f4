"""A set in COCO's format on the disk: what all that make one share."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ['place_image', 'stored_info', 'write_annotations']


def write_annotations(
    file: str | os.PathLike, content: Mapping[str, Any], info: Any = None
) -> None:
    """Writes an annotation file: the same content gives the same bytes.

    Args:
        file: To write; its folder is made.
        content: COCO annotations.
        info: What made the set, by which it is known again.
    """
    if info is not None:
        content = dict(dict(info=info), **content)
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
