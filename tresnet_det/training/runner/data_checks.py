"""Does a data set fit its config, before anything is built of it?"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mmdet.registry import DATASETS
from mmengine.fileio import LocalBackend, get_file_backend

from ...data.annotation_checks import check_annotations
from ...data.annotation_files import read_annotations
from ...data.box_table import box_table
from ...data.class_names import check_class_names
from ...data.coco_datasets import check_something_left, holds_coco, loads_masks
from ...data.image_checks import check_images_exist
from ...data.mask_checks import check_masks
from ...data.wrapped_datasets import innermost_datasets

__all__ = ['check_dataset']


def check_dataset(
    cfg: Mapping[str, Any], allow_subset: bool = False, allow_missing: bool = False
) -> None:
    """Checks a data set's files and class names before it is built.

    MMDetection's ``CocoDataset`` is looked for in any nesting of wrappers
    (repeated, concatenated, balanced ...); other data sets pass.

    Args:
        cfg: What the config says of the data set.
        allow_subset: As for ``check_class_names``.
        allow_missing: Accept images that are not there, unless all are not.

    Raises:
        UserError: The annotation file cannot be read or has faults, class
            names disagree, or no image is left to train on.
    """
    for part in innermost_datasets(cfg):
        if isinstance(part, Mapping):
            _check_innermost(part, allow_subset, allow_missing)


def _check_innermost(
    cfg: Mapping[str, Any], allow_subset: bool, allow_missing: bool
) -> None:
    if not holds_coco(cfg):
        return
    # Built without reading anything, it resolves paths and defaults.
    dataset = DATASETS.build(dict(cfg, lazy_init=True))
    ann_file = dataset.ann_file
    content = read_annotations(ann_file, dataset.backend_args)
    check_annotations(content, ann_file, dataset.test_mode)
    classes = dataset.metainfo['classes']
    names = {category['id']: category['name'] for category in content['categories']}
    check_class_names(
        classes,
        list(names.values()),
        ann_file,
        allow_subset,
        Counter(names[a['category_id']] for a in content.get('annotations', ())),
    )
    masks = loads_masks(cfg.get('pipeline'))
    if masks:
        check_masks(
            content,
            ann_file,
            classes,
            evaluated=False,
            as_polygons=not masks.get('poly2mask', True),
        )
    folder = dataset.data_prefix.get('img', '')
    if isinstance(
        get_file_backend(folder, backend_args=dataset.backend_args), LocalBackend
    ):
        check_images_exist(content, folder, ann_file, allow_missing)
    check_something_left(
        content,
        box_table(content),
        ann_file,
        classes,
        dataset.filter_cfg or {},
        dataset.test_mode,
    )
