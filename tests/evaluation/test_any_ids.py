"""COCO figures do not depend on what the ids are."""

import json
import math
from unittest.mock import patch

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS

import tresnet_det  # noqa: F401  registers
from tresnet_det import UserError
from tresnet_det.evaluation.faster_coco import compare_evaluators
from tresnet_det.evaluation.figures import coco_figures, evaluate_boxes

METRIC_TYPES = ['NumberedCocoMetric', 'FasterCocoEvalMetric']
BOX = [10, 10, 30, 30]
IDS = {
    'from 0': [0, 1],
    'floats': [1.0, 2.0],
    'fractions': [0.5, 0.25],
    'negative': [-2, -1],
    'strings': ['1', '2'],
    'strings from 0': ['0', '1'],
    'uuids': ['4e1f-1', '4e1f-2'],
    'above 2 ** 53': [2**53 + 1, 2**53 + 2],
    'above 2 ** 63': [2**63, 2**63 + 1],
    'mixed sizes': [1, 2**63 + 1],
    'mixed types': ['a', 2],
    'above every float': [10**400, 10**400 + 1],
    'nan as a word': ['nan', 'inf'],
    'falling': [9, 4],
}


def truth(images=(1, 2), annotations=(1, 2), categories=(1, 2)):
    """A cat in the first image and a dog in the second."""
    return dict(
        images=[
            dict(id=key, file_name=f'{k}.png', width=64, height=64)
            for k, key in enumerate(images)
        ],
        annotations=[
            dict(id=key, image_id=i, category_id=c, bbox=BOX, area=900, iscrowd=0)
            for key, i, c in zip(annotations, images, categories)
        ],
        categories=[dict(id=key, name=n) for key, n in zip(categories, ('cat', 'dog'))],
    )


def evaluate(kind, content, folder, found=(0, 1), places=(0, 1), **options):
    """The figures, given the label that is found in each image."""
    file = folder / 'ann.json'
    file.write_text(json.dumps(content))
    metric = METRICS.build(dict(type=f'mmdet.{kind}', ann_file=str(file), **options))
    metric.dataset_meta = dict(classes=('cat', 'dog'))
    for place in places:
        prediction = dict(
            bboxes=torch.tensor([[10.0, 10, 40, 40]]),
            scores=torch.tensor([0.9]),
            labels=torch.tensor([found[place]]),
        )
        sample = dict(
            img_id=content['images'][place]['id'],
            ori_shape=(64, 64),
            pred_instances=prediction,
        )
        metric.process({}, [sample])
    return metric.evaluate(len(places))


@pytest.mark.parametrize('kind', METRIC_TYPES)
@pytest.mark.parametrize('part', ['images', 'annotations', 'categories'])
@pytest.mark.parametrize('ids', IDS)
def test_perfect_detector(tmp_path, kind, part, ids):
    """0.0, 0.5 or an exception by MMDetection's metric for some of these."""
    figures = evaluate(
        kind,
        truth(**{part: IDS[ids]}),
        tmp_path,
        classwise=True,
        metric=['bbox', 'proposal', 'proposal_fast'],
    )
    assert figures['coco/bbox_mAP'] == figures['coco/cat_precision'] == 1
    assert figures['coco/AR@1000'] == 1


@pytest.mark.parametrize('kind', METRIC_TYPES)
@pytest.mark.parametrize('ids', [[1, 2], [2, 1], ['10', '9']])
def test_each_class_gets_its_own_figure(tmp_path, kind, ids):
    """MMDetection's takes them in the order of the file, pycocotools sorts by
    id: of categories that are not sorted the figures change places."""
    figures = evaluate(kind, truth(categories=ids), tmp_path, (0, 0), classwise=True)
    assert figures['coco/cat_precision'] == 1
    assert figures['coco/dog_precision'] == 0


def test_mmdetection_does_take_them_wrong(tmp_path):
    """If this fails, MMDetection or pycocotools has changed and ours may go."""
    assert evaluate('CocoMetric', truth(annotations=[0, 1]), tmp_path)[
        'coco/bbox_mAP'
    ] == pytest.approx(0.5)
    figures = evaluate(
        'CocoMetric', truth(categories=[2, 1]), tmp_path, (0, 0), classwise=True
    )
    assert figures['coco/cat_precision'] == 0 < figures['coco/dog_precision']


@pytest.mark.parametrize('kind', METRIC_TYPES)
def test_written_detections_have_the_ids_of_the_file(tmp_path, kind):
    evaluate(
        kind,
        truth(['x', 2**60 + 1], categories=[7, 'c']),
        tmp_path,
        outfile_prefix=str(tmp_path / 'a'),
    )
    written = json.loads((tmp_path / 'a.bbox.json').read_text())
    assert [(d['image_id'], d['category_id']) for d in written] == [
        ('x', 7),
        (2**60 + 1, 'c'),
    ]


@pytest.mark.parametrize('kind', METRIC_TYPES)
def test_figures_are_of_the_images_that_were_evaluated(tmp_path, kind):
    """As with indices=100 of a data set."""
    with patch('tresnet_det.evaluation.numbered_coco.print_log') as log:
        figures = evaluate(kind, truth(), tmp_path, places=[1])
    assert figures['coco/bbox_mAP'] == 1
    assert '1 of the 2 images' in log.call_args.args[0]


@pytest.mark.parametrize('kind', METRIC_TYPES)
@pytest.mark.parametrize('thresholds', [0.33, [0.33], [0.3, 0.35]])
def test_other_iou_thresholds(tmp_path, kind, thresholds):
    """The boxes found have an IoU of 0.36 with these."""
    content = truth()
    for annotation in content['annotations']:
        annotation['bbox'] = [10, 10, 30, 10.8]
    usual = evaluate(kind, content, tmp_path)
    other = evaluate(kind, content, tmp_path, iou_thrs=thresholds)
    assert (usual['coco/bbox_mAP'], other['coco/bbox_mAP']) == (0, 1)
    assert other['coco/bbox_mAP_50'] == -1
    assert evaluate(kind, content, tmp_path, classwise=True)['coco/cat_precision'] == 0
    with pytest.raises(UserError, match='leave out one of classwise and iou_thrs'):
        evaluate(kind, content, tmp_path, iou_thrs=thresholds, classwise=True)


@pytest.mark.parametrize('kind', METRIC_TYPES)
def test_images_evaluated_twice_are_refused(tmp_path, kind):
    with pytest.raises(UserError, match='1 images were evaluated more than once'):
        evaluate(kind, truth(), tmp_path, places=[0, 1, 1])


@pytest.mark.parametrize('kind', METRIC_TYPES)
def test_without_an_annotation_file(tmp_path, kind):
    metric = METRICS.build(dict(type=f'mmdet.{kind}'))
    metric.dataset_meta = dict(classes=('cat', 'dog'))
    for key, label in (('a', 0), (2**60 + 1, 1)):
        box = [10.0, 10.0, 40.0, 40.0]
        metric.process(
            {},
            [
                dict(
                    img_id=key,
                    ori_shape=(64, 64),
                    instances=[dict(bbox=box, bbox_label=label)],
                    pred_instances=dict(
                        bboxes=torch.tensor([box]),
                        scores=torch.tensor([0.9]),
                        labels=torch.tensor([label]),
                    ),
                )
            ],
        )
    assert metric.evaluate(2)['coco/bbox_mAP'] == 1


@pytest.mark.parametrize('ids', IDS)
def test_files_of_detections(tmp_path, ids):
    """Those of the demo, of comparisons and of compare_evaluators.py."""
    content = truth(IDS[ids], IDS[ids], IDS[ids])
    (tmp_path / 'ann.json').write_text(json.dumps(content))
    found = [
        dict({k: a[k] for k in ('image_id', 'category_id', 'bbox')}, score=0.9)
        for a in content['annotations']
    ]
    (tmp_path / 'found.json').write_text(json.dumps(found))
    files = tmp_path / 'ann.json', tmp_path / 'found.json'
    assert coco_figures(evaluate_boxes(*files))['AP'] == pytest.approx(1)
    assert coco_figures(evaluate_boxes(*files, ['dog']))['AP'] == pytest.approx(1)
    for evaluation in compare_evaluators(*files).values():
        assert evaluation.figures['AP'] == pytest.approx(1)


def test_plain_ids_give_mmdetections_own_figures(tmp_path):
    rng = np.random.default_rng(0)
    content = truth(range(1, 9), range(1, 9), [1, 2])
    content['annotations'] = [
        dict(
            id=k,
            image_id=1 + k % 8,
            category_id=1 + k % 2,
            bbox=[*rng.uniform(5, 15, 2), 30, 30],
            area=900,
            iscrowd=int(k % 7 == 0),
        )
        for k in range(1, 40)
    ]
    options = dict(
        found=rng.integers(0, 2, 8),
        places=range(8),
        classwise=True,
        metric=['bbox', 'proposal'],
    )
    theirs = evaluate('CocoMetric', content, tmp_path, **options)
    assert 0 < theirs['coco/bbox_mAP'] < 1 and not math.isnan(theirs['coco/AR@100'])
    for kind in METRIC_TYPES:
        np.testing.assert_equal(evaluate(kind, content, tmp_path, **options), theirs)
    assert CocoMetric.compute_metrics.__globals__['COCO'].__name__ == 'COCO'
