"""The 12 COCO figures of box detections by pycocotools and faster-coco-eval.

    python tools/analysis_tools/compare_evaluators.py ANN_FILE DETECTIONS_JSON

DETECTIONS_JSON is what tools/test.py writes with
--cfg-options test_evaluator.outfile_prefix=NAME: NAME.bbox.json. The exit
status is 1 if a figure differs by more than 1e-12.
"""

import argparse
import sys
from pathlib import Path

from terminaltables import AsciiTable

from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.data.annotation_checks import check_annotations
from tresnet_det.data.annotation_files import read_annotations
from tresnet_det.evaluation.faster_coco import TOLERANCE, compare_evaluators


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('ann_file', type=Path, help='COCO annotations')
    parser.add_argument(
        'detections', type=Path, metavar='DETECTIONS_JSON', help='COCO results'
    )
    parser.add_argument(
        '--max-dets',
        type=int,
        nargs=3,
        default=(100, 300, 1000),
        metavar='N',
        help="detections an image (MMDetection's %(default)s; COCO has 1 10 100)",
    )
    return parser.parse_args()


@tell_user_errors
def main() -> None:
    args = parse_args()
    check_annotations(read_annotations(args.ann_file), args.ann_file, test_mode=True)
    both = compare_evaluators(args.ann_file, args.detections, args.max_dets)
    one, other = both.values()
    differences = {
        name: abs(value - other.figures[name]) for name, value in one.figures.items()
    }
    rows = [
        [
            name,
            f'{value:.15f}',
            f'{other.figures[name]:.15f}',
            f'{differences[name]:.1e}',
        ]
        for name, value in one.figures.items()
    ]
    print(
        AsciiTable(
            [
                ['figure', *both, 'difference'],
                *rows,
                [
                    'seconds',
                    f'{one.seconds:.2f}',
                    f'{other.seconds:.2f}',
                    f'{one.seconds / other.seconds:.1f} times',
                ],
            ]
        ).table
    )
    wrong = [
        name for name, value in differences.items() if not value <= TOLERANCE
    ]  # so that NaN is wrong too
    if wrong:
        sys.exit(f'these differ by more than {TOLERANCE}: {", ".join(wrong)}')


if __name__ == '__main__':
    main()
