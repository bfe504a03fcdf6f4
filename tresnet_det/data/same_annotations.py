"""Do two annotation files hold the same images, boxes and classes?

Ids tell nothing: every file of a set may be numbered from 1.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from ..common.errors import some

__all__ = ['differences']


def differences(
    own: Mapping[str, Any],
    other: Mapping[str, Any],
    classes: Collection[str] | None = None,
    with_boxes: bool = True,
) -> list[str]:
    """What another file says differently of one's own images.

    Args:
        own: COCO annotations.
        other: COCO annotations, of these images or more.
        classes: Names of the categories that count; None for all.
        with_boxes: Compare the boxes too.

    Returns:
        Each kind of difference, counted, in words; none if they agree.
    """
    others = {image['id']: image for image in other['images']}
    own_images = {image['id']: image for image in own['images']}
    lacking = own_images.keys() - others.keys()
    if lacking:
        return [f'it lacks {len(lacking)} of the {len(own_images)} images']
    found = []
    for fields, what in (
        (('file_name',), 'file name'),
        (('width', 'height'), 'size'),
    ):
        differ = [
            f'{_values(image, fields)} and {_values(others[key], fields)}'
            for key, image in own_images.items()
            if _values(image, fields) != _values(others[key], fields)
        ]
        if differ:
            found.append(
                f'{len(differ)} of {len(own_images)} images have another {what} '
                f'with the same id ({some(differ[:1])})'
            )
    names = [_names(content, classes) for content in (own, other)]
    if names[0] != names[1]:
        found.append(f'the categories are {names[1]}, not {names[0]}')
    if with_boxes and 'annotations' in own and not found:
        one, two = (
            _boxes(content, own_images.keys(), classes) for content in (own, other)
        )
        unlike = sum(((one - two) + (two - one)).values())
        if unlike:
            found.append(
                f'{(one - two).total()} of {one.total()} boxes are not there, '
                f'{(two - one).total()} are others'
            )
    return found


def _values(image: Mapping[str, Any], fields: tuple[str, ...]) -> str:
    return ' x '.join(str(image.get(field)) for field in fields)


def _names(content: Mapping[str, Any], classes: Collection[str] | None) -> list[str]:
    """In the order that gives labels."""
    return [
        category['name']
        for category in content['categories']
        if classes is None or category['name'] in classes
    ]


def _boxes(
    content: Mapping[str, Any],
    images: Collection,
    classes: Collection[str] | None,
) -> Counter:
    names = {category['id']: category['name'] for category in content['categories']}
    return Counter(
        (
            annotation['image_id'],
            names.get(annotation['category_id']),
            *(round(value, 2) for value in annotation['bbox']),
            bool(annotation.get('iscrowd')),
        )
        for annotation in content.get('annotations', ())
        if annotation['image_id'] in images
        and (classes is None or names.get(annotation['category_id']) in classes)
    )
