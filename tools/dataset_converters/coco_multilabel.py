"""Turn COCO's detection annotations into MMPretrain's multi-label ones.

    python tools/dataset_converters/coco_multilabel.py instances_val2017.json OUT.json

Each image gets the classes of its objects, by their place among the
categories sorted by id; images without objects get none.
"""

import argparse
import json

from pycocotools.coco import COCO

from tresnet_det.common.atomic import written_whole
from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.data.annotation_checks import check_annotations, read_annotations


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', metavar='IN', help='instances_*.json')
    parser.add_argument('target', metavar='OUT', help='file to write')
    return parser.parse_args()


def multilabel(coco: COCO) -> dict:
    """Classes and, for each image, its file and its labels."""
    categories = sorted(coco.getCatIds())
    labels = {category: label for label, category in enumerate(categories)}
    return {
        'metainfo': {'classes': [cat['name'] for cat in coco.loadCats(categories)]},
        'data_list': [
            {
                'img_path': image['file_name'],
                'gt_label': sorted(
                    {
                        labels[note['category_id']]
                        for note in coco.imgToAnns[image['id']]
                    }
                ),
            }
            for image in coco.dataset['images']
        ],
    }


@tell_user_errors
def main() -> None:
    args = parse_args()
    check_annotations(read_annotations(args.source), args.source)
    content = multilabel(COCO(args.source))
    with written_whole(args.target) as part:
        part.write_text(json.dumps(content))
    print(
        f'written {args.target}: {len(content["data_list"])} images, '
        f'{len(content["metainfo"]["classes"])} classes'
    )


if __name__ == '__main__':
    main()
