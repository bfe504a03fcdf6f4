"""The first images of a COCO-format set as a set of its own.

For overfitting a handful of images: a detector that cannot learn them by
heart has a fault in assignment, decoding or class mapping.
"""

import json
import os
import shutil
from pathlib import Path

from .annotation_checks import check_annotations, read_annotations
from ..common.atomic import written_whole
from ..common.errors import UserError

__all__ = ['make_subset']


def make_subset(ann_file: str | os.PathLike,
                image_dir: str | os.PathLike,
                root: str | os.PathLike,
                num_images: int) -> None:
    """Copies the first images and their annotations, with all categories.

    Args:
        ann_file: COCO annotations.
        image_dir: Where their images lie.
        root: Folder to make: ``annotations/instances_train.json`` and
            ``train``.
        num_images: How many images.

    Raises:
        UserError: The annotation file cannot be read or has faults, the set
            has fewer images, or ``num_images`` is below 1.
        FileExistsError: ``root`` exists.
        FileNotFoundError: An image is missing.
    """
    root = Path(root)
    if root.exists():
        raise FileExistsError(f'{root} exists; remove it or choose another')
    content = read_annotations(ann_file)
    check_annotations(content, ann_file)
    if not 1 <= num_images <= len(content['images']):
        raise UserError(f'num_images is {num_images}, but {ann_file} has '
                        f"{len(content['images'])} images")
    content['images'] = content['images'][:num_images]
    kept = {image['id'] for image in content['images']}
    content['annotations'] = [
        a for a in content['annotations'] if a['image_id'] in kept]
    with written_whole(root) as part:
        (part / 'annotations').mkdir(parents=True)
        (part / 'annotations' / 'instances_train.json').write_text(
            json.dumps(content))
        for image in content['images']:
            copy = part / 'train' / image['file_name']
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(image_dir, image['file_name']), copy)
