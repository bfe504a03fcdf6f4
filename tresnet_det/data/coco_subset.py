"""The first images of a COCO-format set as a set of its own.

For overfitting a handful of images: a detector that cannot learn them by
heart has a fault in assignment, decoding or class mapping.
"""

import os
from pathlib import Path

from ..common.atomic import written_whole
from ..common.errors import UserError
from .annotation_checks import Fault, check_annotations, refuse
from .annotation_files import how_to_mend, read_annotations
from .coco_sets import place_image, write_annotations
from .image_checks import check_images_exist, leaves_folder

__all__ = ['make_subset']


def make_subset(
    ann_file: str | os.PathLike,
    image_dir: str | os.PathLike,
    root: str | os.PathLike,
    num_images: int,
) -> None:
    """Copies the first images and their annotations, with all categories.

    Args:
        ann_file: COCO annotations.
        image_dir: Where their images lie.
        root: Folder to make: ``annotations/instances_train.json`` and
            ``train``.
        num_images: How many images.

    Raises:
        UserError: The annotation file cannot be read or has faults, names a
            file outside ``image_dir`` or one that is missing, the set has
            fewer images, or ``num_images`` is below 1.
        FileExistsError: ``root`` exists.
    """
    root = Path(root)
    if os.path.lexists(root):  # also a link to nothing
        raise FileExistsError(f'{root} exists; remove it or choose another')
    content = read_annotations(ann_file)
    check_annotations(content, ann_file)
    if not 1 <= num_images <= len(content['images']):
        raise UserError(
            f'num_images is {num_images}, but {ann_file} has '
            f'{len(content["images"])} images'
        )
    content['images'] = content['images'][:num_images]
    # Else a copy would be written where the file says.
    refuse(
        ann_file,
        (
            Fault(f'images whose file_name leaves {image_dir}', image['id'])
            for image in content['images']
            if leaves_folder(image['file_name'])
        ),
        'Names must be relative to the folder of images. '
        + how_to_mend(ann_file, image_dir),
    )
    check_images_exist(content, image_dir, ann_file)
    kept = {image['id'] for image in content['images']}
    content['annotations'] = [
        a for a in content['annotations'] if a['image_id'] in kept
    ]
    with written_whole(root) as part:
        write_annotations(part / 'annotations' / 'instances_train.json', content)
        for image in content['images']:
            name = image['file_name']
            place_image(Path(image_dir, name), part / 'train' / name)
