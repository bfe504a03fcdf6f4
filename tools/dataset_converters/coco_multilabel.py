"""Turn COCO's detection annotations into MMPretrain's multi-label ones.

    python tools/dataset_converters/coco_multilabel.py instances_val2017.json OUT.json

Each image gets the classes of its objects, by their place among the
categories sorted by id; images without objects get none.
"""

import argparse
import json
from collections import defaultdict

from tresnet_det.common.atomic import written_whole
from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.common.errors import UserError
from tresnet_det.data.annotation_checks import check_annotations
from tresnet_det.data.annotation_files import read_annotations


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', metavar='IN', help='instances_*.json')
    parser.add_argument('target', metavar='OUT', help='file to write')
    return parser.parse_args()


def multilabel(content: dict) -> dict:
    """Classes and, for each image, its file and its labels."""
    try:
        categories = sorted(content['categories'], key=lambda c: c['id'])
    except TypeError as error:
        raise UserError(
            'the ids of some categories are numbers and of others strings: '
            'write all as one, for they give the order of the classes'
        ) from error
    labels = {category['id']: label for label, category in enumerate(categories)}
    found = defaultdict(set)
    for annotation in content['annotations']:
        found[annotation['image_id']].add(labels[annotation['category_id']])
    return {
        'metainfo': {'classes': [category['name'] for category in categories]},
        'data_list': [
            {'img_path': image['file_name'], 'gt_label': sorted(found[image['id']])}
            for image in content['images']
        ],
    }


@tell_user_errors
def main() -> None:
    args = parse_args()
    source = read_annotations(args.source)
    check_annotations(source, args.source)
    content = multilabel(source)
    with written_whole(args.target) as part:
        part.write_text(json.dumps(content))
    print(
        f'written {args.target}: {len(content["data_list"])} images, '
        f'{len(content["metainfo"]["classes"])} classes'
    )


if __name__ == '__main__':
    main()
