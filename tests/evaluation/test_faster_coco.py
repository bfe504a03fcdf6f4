"""faster-coco-eval and pycocotools give the same figures."""

import json
import runpy
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from mmdet.structures.mask import encode_mask_results
from mmengine.registry import DefaultScope

import tresnet_det  # noqa: F401
from tresnet_det.evaluation.faster_coco import TOLERANCE, compare_evaluators

ROOT = Path(__file__).parents[2]
CLASSES = ('a', 'b', 'empty')
SIDE = 320
installed = pytest.importorskip(
    'faster_coco_eval', reason='needs pip install faster-coco-eval'
)


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def box(x, y, w, h, label=0, image=0, **extra):
    return dict(
        image_id=10 * image + 3,
        category_id=5 * label + 2,
        bbox=[float(v) for v in (x, y, w, h)],
        **extra,
    )


def truth(boxes, first_id=1):
    return dict(
        images=[
            dict(id=10 * i + 3, width=SIDE, height=SIDE, file_name=f'{i}.jpg')
            for i in range(4)
        ],
        categories=[dict(id=5 * i + 2, name=name) for i, name in enumerate(CLASSES)],
        annotations=[
            dict(dict(iscrowd=0, area=b['bbox'][2] * b['bbox'][3]), id=i, **b)
            for i, b in enumerate(boxes, first_id)
        ],
    )


def found(boxes, scores=None):
    scores = np.linspace(0.9, 0.1, len(boxes)) if scores is None else scores
    return [
        dict({k: b[k] for k in ('image_id', 'category_id', 'bbox')}, score=float(score))
        for b, score in zip(boxes, scores)
    ]


def moved(boxes, by):
    return [dict(b, bbox=[b['bbox'][0] + by, *b['bbox'][1:]]) for b in boxes]


SOME = [
    box(10, 10, 20, 20),
    box(60, 60, 60, 50),
    box(10, 120, 150, 160),
    box(100, 10, 40, 40, 1),
    box(5, 5, 100, 90, 1, image=1),
    box(200, 200, 12, 14, 0, image=2),
]
CROWD = dict(iscrowd=1)
# Sides on the borders of COCO's areas, just below and just above.
BORDERS = [
    box(110 * (i % 2), 100 * (i // 2), side, side, image=image)
    for image, border in enumerate((32, 96))
    for i, side in enumerate(
        (np.nextafter(border, 0), border, np.nextafter(border, 999))
    )
]
CASES = {
    'perfect': (truth(SOME), found(SOME)),
    'none': (truth(SOME), []),
    'nothing to find': (truth([]), found(SOME)),
    'duplicates': (truth(SOME), found(SOME + SOME + moved(SOME, 1))),
    'ties': (truth(SOME), found(moved(SOME, 4) + SOME + moved(SOME, 2), [0.5] * 18)),
    'wrong class': (
        truth(SOME),
        found([dict(b, category_id=12) for b in SOME] + SOME[:2]),
    ),
    'crowd': (
        truth([*SOME, box(180, 20, 120, 120, **CROWD)]),
        found(
            [
                *SOME,
                *(box(185 + 20 * i, 30, 20, 20) for i in range(5)),
                box(240, 20, 80, 120),
            ]
        ),
    ),
    'crowds alone': (truth([dict(b, **CROWD) for b in SOME]), found(SOME)),
    'areas of masks': (
        truth(
            [
                dict(b, area=area)
                for b, area in zip(SOME, (10, 1024, 9216, 9217, 5e3, 1e6))
            ]
        ),
        found(moved(SOME, 3)),
    ),
    'area borders': (truth(BORDERS), found(BORDERS + moved(BORDERS, 7))),
    # Shifts by which the overlap is 1/2, 3/5, 3/4, 9/11 in exact numbers.
    'IoU at a threshold': (
        truth([box(10, 70 * i, 60, 60, image=0) for i in range(4)]),
        found(
            [box(10 + dx, 70 * i, 60, 60) for i, dx in enumerate((20, 15, 60 / 7, 6))]
        ),
    ),
    'more than 100': (
        truth(SOME),
        found([box(i % 17, i // 17, 20, 20, i % 2) for i in range(240)] + SOME),
    ),
    'more than 1000': (
        truth(SOME),
        found([box(i % 40, i // 40, 20, 20) for i in range(1100)] + SOME),
    ),
    'ids from 0': (truth(SOME, first_id=0), found(moved(SOME, 3))),
}


def drawn(seed):
    """Objects of all sizes and detections of all qualities."""
    rng = np.random.RandomState(seed)

    def one(image):
        w, h = np.exp(rng.uniform(1.5, 5.3, 2))
        return box(*rng.uniform(0, SIDE - 200, 2), w, h, rng.randint(2), image)

    boxes, guesses = [], []
    for image in range(4):
        mine = [one(image) for _ in range(rng.randint(0, 15))]
        boxes += [
            dict(
                b,
                iscrowd=int(rng.rand() < 0.1),
                area=rng.choice([1, 0.7]) * np.prod(b['bbox'][2:]),
            )
            for b in mine
        ]
        for b in mine * 3:
            x, y, w, h = b['bbox'] + rng.randn(4) * rng.choice([0, 1, 5]) * (
                1,
                1,
                0.2,
                0.2,
            )
            guesses.append(dict(b, bbox=[x, y, abs(w), abs(h)]))
        guesses += [one(image) for _ in range(rng.choice([0, 10, 250]))]
    scores = rng.rand(len(guesses)).round(rng.choice([1, 8]))
    return truth(boxes), found(guesses, scores)


CASES.update({f'drawn {seed}': drawn(seed) for seed in range(12)})


@pytest.fixture(params=CASES)
def files(request, tmp_path):
    for name, content in zip(('truth', 'found'), CASES[request.param]):
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    return tmp_path / 'truth.json', tmp_path / 'found.json'


@pytest.mark.parametrize('max_dets', [(1, 10, 100), (100, 300, 1000)])
def test_the_twelve_figures(files, max_dets):
    theirs, ours = compare_evaluators(*files, max_dets).values()
    assert len(theirs.figures) == 12
    assert list(ours.figures) == list(theirs.figures)
    np.testing.assert_allclose(
        list(ours.figures.values()),
        list(theirs.figures.values()),
        rtol=0,
        atol=TOLERANCE,
    )


def test_the_cases_are_what_they_are_called(tmp_path):
    def figures(case, *max_dets):
        for name, content in zip(('truth', 'found'), CASES[case]):
            (tmp_path / name).write_text(json.dumps(content))
        return compare_evaluators(tmp_path / 'truth', tmp_path / 'found', *max_dets)[
            'faster-coco-eval'
        ].figures

    assert set(figures('perfect').values()) == {1.0}
    assert set(figures('none').values()) == {0.0}
    assert set(figures('nothing to find').values()) == {-1.0}
    assert 0 < figures('duplicates')['AP'] == 1.0
    many = figures('more than 100')
    assert many['AR@100'] < many['AR@300'] == 1.0
    assert many['AP'] < many['AP50']  # at 100 and at 1000 detections
    assert figures('perfect', (1, 10, 1000))['AP'] == -1


def evaluate(kind, ann_file, detections, masks=False, **options):
    """The dict of a metric, given detections as a detector gives them."""
    metric = METRICS.build(dict(type=kind, ann_file=str(ann_file), **options))
    metric.dataset_meta = dict(classes=CLASSES)
    for i in range(4):
        mine = [d for d in detections if d['image_id'] == 10 * i + 3]
        boxes = torch.tensor([d['bbox'] for d in mine]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        pred = dict(
            bboxes=boxes,
            scores=torch.tensor([d['score'] for d in mine]),
            labels=torch.tensor(
                [(d['category_id'] - 2) // 5 for d in mine], dtype=torch.long
            ),
        )
        if masks:
            pred['masks'] = encode_mask_results(
                np.array([mask(b) for b in boxes], bool).reshape(-1, SIDE, SIDE)
            )
        metric.process(
            {}, [dict(pred_instances=pred, img_id=10 * i + 3, ori_shape=(SIDE, SIDE))]
        )
    return metric.evaluate(4)


def mask(corners):
    """A box without its lower right quarter."""
    x1, y1, x2, y2 = (int(v) for v in corners.clamp(0, SIDE))
    picture = np.zeros((SIDE, SIDE), bool)
    picture[y1:y2, x1:x2] = True
    picture[(y1 + y2) // 2 : y2, (x1 + x2) // 2 : x2] = False
    return picture


def test_the_metric_gives_the_same_dict(files):
    """Also per class, where 'empty' is NaN, and of proposals."""
    detections = json.loads(files[1].read_text())
    theirs, ours = (
        evaluate(
            kind, files[0], detections, classwise=True, metric=['bbox', 'proposal']
        )
        for kind in ('NumberedCocoMetric', 'FasterCocoEvalMetric')
    )
    np.testing.assert_equal(ours, theirs)
    annotations = json.loads(files[0].read_text())['annotations']
    if all(a['id'] for a in annotations):  # pycocotools takes 0 wrong
        kept = evaluate(
            'CocoMetric',
            files[0],
            detections,
            classwise=True,
            metric=['bbox', 'proposal'],
        )
        np.testing.assert_equal(ours, kept)
    if detections:
        assert {
            'coco/bbox_mAP',
            'coco/a_precision',
            'coco/empty_precision',
            'coco/AR@100',
            'coco/AR_l@1000',
        } <= {*ours}


def test_masks(tmp_path):
    annotations, detections = CASES['drawn 3']
    for annotation in annotations['annotations']:
        x, y, w, h = annotation['bbox']
        annotation['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    (tmp_path / 'truth.json').write_text(json.dumps(annotations))
    theirs, ours = (
        evaluate(
            kind,
            tmp_path / 'truth.json',
            detections,
            masks=True,
            metric=['segm', 'bbox'],
            classwise=True,
        )
        for kind in ('CocoMetric', 'FasterCocoEvalMetric')
    )
    np.testing.assert_equal(ours, theirs)
    assert 0 < ours['coco/segm_mAP'] < ours['coco/bbox_mAP']


def test_pycocotools_does_not_evaluate(tmp_path):
    """Else the above would compare it with itself."""
    annotations, detections = CASES['perfect']
    (tmp_path / 'truth.json').write_text(json.dumps(annotations))
    with patch('pycocotools.cocoeval.COCOeval.evaluate', side_effect=InterruptedError):
        ours = evaluate(
            'FasterCocoEvalMetric', tmp_path / 'truth.json', detections, metric='bbox'
        )
        with pytest.raises(InterruptedError):
            evaluate('CocoMetric', tmp_path / 'truth.json', detections)
    assert ours['coco/bbox_mAP'] == 1.0


def test_absence_is_said_at_once():
    with patch.dict(sys.modules, {'faster_coco_eval': None}):
        with pytest.raises(ImportError, match='pip install faster-coco-eval'):
            METRICS.build(dict(type='FasterCocoEvalMetric'))


def test_the_other_evaluation_is_refused():
    with pytest.raises(ValueError, match='use_mp_eval'):
        METRICS.build(dict(type='FasterCocoEvalMetric', use_mp_eval=True))


def run_tool(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['', *map(str, arguments)])
    runpy.run_path(
        str(ROOT / 'tools' / 'analysis_tools' / 'compare_evaluators.py'),
        run_name='__main__',
    )


@pytest.mark.parametrize('files', ['drawn 1'], indirect=True)
def test_tool(files, monkeypatch, capsys):
    run_tool(monkeypatch, *files)
    text = capsys.readouterr().out
    rows = [
        [cell.strip() for cell in line.split('|')[1:-1]]
        for line in text.splitlines()
        if line.startswith('|')
    ]
    assert [row[0] for row in rows] == [
        'figure',
        'AP',
        'AP50',
        'AP75',
        'APs',
        'APm',
        'APl',
        'AR@100',
        'AR@300',
        'AR@1000',
        'ARs',
        'ARm',
        'ARl',
        'seconds',
    ]
    assert 0 < float(rows[1][1]) < 1
    assert all(float(row[3]) <= TOLERANCE for row in rows[1:-1])
    run_tool(monkeypatch, *files, '--max-dets', 1, 10, 100)
    assert 'AR@10 ' in capsys.readouterr().out


@pytest.mark.parametrize('files', ['drawn 1'], indirect=True)
def test_tool_fails_where_they_differ(files, monkeypatch):
    summarize = installed.COCOeval_faster.evaluate

    def wrong(self):
        summarize(self)
        self.eval['recall'] = np.asarray(self.eval['recall']) * (1 - 1e-9)

    monkeypatch.setattr(installed.COCOeval_faster, 'evaluate', wrong)
    with pytest.raises(SystemExit, match='differ by more than 1e-12: AR@100'):
        run_tool(monkeypatch, *files)


def test_three_numbers_of_detections():
    with pytest.raises(ValueError, match='three different'):
        compare_evaluators('a', 'b', (100, 100, 300))
