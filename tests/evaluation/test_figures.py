"""Figures, curves and pictures from the files that MMDetection writes."""

import json
import resource

import cv2
import numpy as np
import pytest

from tresnet_det.evaluation.figures import (
    coco_figures,
    draw_detections,
    evaluate_boxes,
    figures_table,
    plot_curves,
    read_scalars,
)

BOXES = [(10, 10, 20, 20), (60, 50, 40, 50), (5, 60, 24, 30)]


@pytest.fixture
def truth(tmp_path):
    """One grey image with three boxes of two categories, 3 and 8."""
    (tmp_path / 'img').mkdir()
    cv2.imwrite(str(tmp_path / 'img' / 'a.png'), np.full((120, 120, 3), 128, np.uint8))
    content = dict(
        images=[dict(id=5, file_name='a.png', width=120, height=120)],
        categories=[dict(id=3, name='cat'), dict(id=8, name='dog')],
        annotations=[
            dict(
                id=k,
                image_id=5,
                category_id=(3, 8, 3)[k - 1],
                bbox=box,
                area=box[2] * box[3],
                iscrowd=0,
            )
            for k, box in enumerate(BOXES, start=1)
        ],
    )
    (tmp_path / 'ann.json').write_text(json.dumps(content))
    return tmp_path / 'ann.json', content['annotations']


def write_detections(path, annotations, **changes):
    path.write_text(
        json.dumps(
            [
                dict(
                    {k: a[k] for k in ('image_id', 'category_id', 'bbox')},
                    score=0.9,
                    **changes,
                )
                for a in annotations
            ]
        )
    )
    return path


def test_figures_of_a_perfect_and_of_a_blind_detector(truth, tmp_path):
    ann_file, annotations = truth
    perfect = coco_figures(
        evaluate_boxes(ann_file, write_detections(tmp_path / 'd.json', annotations))
    )
    assert perfect == pytest.approx(dict(AP=1, AP50=1, AP75=1, APs=1, APm=1, APl=-1))
    blind = coco_figures(
        evaluate_boxes(ann_file, write_detections(tmp_path / 'd.json', []))
    )
    assert [blind['AP'], blind['APl']] == [0, -1]


def test_figures_find_a_wrong_class(truth, tmp_path):
    ann_file, annotations = truth
    wrong = [dict(a, category_id=11 - a['category_id']) for a in annotations]
    found = write_detections(tmp_path / 'd.json', wrong)
    assert coco_figures(evaluate_boxes(ann_file, found))['AP'] == 0
    # One category alone: the other's boxes are no mistakes.
    found.write_text(
        json.dumps(
            json.loads(found.read_text())
            + json.loads(
                write_detections(tmp_path / 'e.json', annotations[1:2]).read_text()
            )
        )
    )
    dogs = evaluate_boxes(ann_file, found, classes=['dog'])
    assert dogs.eval['precision'].shape[2] == 1


def test_table_shows_what_does_not_exist():
    table = figures_table(dict(AP=0.12345, APl=-1.0))
    assert '0.123' in table and 'n/a' in table and 'APl' in table


def log(work_dir, run, lines):
    folder = work_dir / run / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text('\n'.join(json.dumps(line) for line in lines))


@pytest.fixture
def work_dir(tmp_path):
    def val(epoch, ap):
        return {
            'coco/bbox_mAP': ap,
            'coco/bbox_mAP_50': ap,
            'coco/bbox_mAP_75': ap,
            'step': epoch,
        }

    log(
        tmp_path,
        '20260102_000000',
        [
            dict(loss=4.0, loss_cls=3.0, step=1),
            val(1, 0.1),
            dict(loss=3.0, loss_cls=2.0, step=2),
        ],
    )
    log(
        tmp_path, '20260103_000000', [dict(loss=2.5, loss_cls=1.5, step=2), val(2, 0.3)]
    )
    return tmp_path


def test_resumed_run_replaces_repeated_steps(work_dir):
    scalars = read_scalars(work_dir)
    assert [s['loss'] for s in scalars if 'loss' in s] == [4.0, 2.5]
    assert [s['coco/bbox_mAP'] for s in scalars if 'loss' not in s] == [0.1, 0.3]


def test_line_that_was_cut_off_is_left_out(work_dir):
    file = sorted(work_dir.glob('*/vis_data/scalars.json'))[0]
    file.write_text(file.read_text() + '\n{"loss": 3.')
    assert len(read_scalars(work_dir)) == 4


def test_curves_are_drawn(work_dir):
    plot_curves(work_dir, work_dir / 'curves.png')
    picture = cv2.imread(str(work_dir / 'curves.png'))
    assert picture.shape == (400, 1000, 3)
    # Coloured lines in both halves, not axes alone.
    colour = np.ptp(picture.astype(int), axis=2) > 50
    assert colour[:, :500].sum() > 200 and colour[:, 500:].sum() > 200


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='work folder of a training'):
        plot_curves(tmp_path, tmp_path / 'curves.png')


def test_truth_left_detections_right(truth, tmp_path):
    ann_file, annotations = truth
    found = write_detections(tmp_path / 'd.json', annotations[:1])
    weak = json.loads(found.read_text())
    found.write_text(json.dumps(weak + [dict(weak[0], bbox=BOXES[1], score=0.1)]))
    blind = write_detections(tmp_path / 'e.json', [])
    (file,) = draw_detections(
        ann_file,
        dict(one=found, other=blind),
        tmp_path / 'img',
        tmp_path / 'out',
        min_side=240,
    )
    assert file == tmp_path / 'out' / 'a.jpg'
    picture = cv2.imread(str(file)).astype(int)
    assert picture.shape == (28 + 240, 3 * 240, 3)
    picture = picture[28:]  # the titles

    def drawn(x, y, w, h):  # along the lower edge, away from the label
        row = picture[2 * (y + h) - 3 : 2 * (y + h) + 3, 2 * x + 6 : 2 * (x + w)]
        return abs(row - 128).max() > 20

    left = [drawn(*box) for box in BOXES]
    right = [drawn(x + 120, *rest) for x, *rest in BOXES]
    assert left == [True] * 3 and right == [True, False, False]
    assert not any(drawn(x + 240, *rest) for x, *rest in BOXES)


def test_full_disk_is_told(truth, tmp_path):
    ann_file, annotations = truth
    found = write_detections(tmp_path / 'd.json', annotations)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (99, hard))
    try:
        with pytest.raises(OSError, match='File too large'):
            draw_detections(
                ann_file, dict(one=found), tmp_path / 'img', tmp_path / 'out'
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / 'out').exists()


def test_missing_image_is_named(truth, tmp_path):
    ann_file, annotations = truth
    found = write_detections(tmp_path / 'd.json', annotations)
    with pytest.raises(FileNotFoundError, match='nowhere/a.png'):
        draw_detections(ann_file, dict(one=found), 'nowhere', tmp_path / 'out')
