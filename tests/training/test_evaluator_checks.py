"""The figures are of the data set's own images, boxes and classes."""

import json
import os
import shutil
from copy import deepcopy

import pytest
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.evaluator import Evaluator
from small_runs import box, coco, small_run, write_data

from tresnet_det import FasterCocoEvalMetric, UserError
from tresnet_det.evaluation.numbered_coco import NumberedCocoMetric
from tresnet_det.training.runner.evaluator_checks import (
    check_evaluator,
    right_for_any_ids,
)

CLASSES = ('cat', 'dog')
OWN = coco([box(1, 10, 10, 30, 30), box(2, 5, 5, 20, 20, category=2)], CLASSES)


@METRICS.register_module()
class OwnMetric(CocoMetric):
    """A user's."""


def data_set(folder, name='val.json', classes=CLASSES, **options):
    return dict(
        type='mmdet.CocoDataset',
        data_root=str(folder),
        ann_file=name,
        metainfo=dict(classes=classes),
        **options,
    )


def check(folder, content, kind='CocoMetric', own=OWN, **options):
    for name, written in (('val.json', own), ('other.json', content)):
        (folder / name).write_text(json.dumps(written))
    check_evaluator(
        dict(type=kind, ann_file=str(folder / 'other.json'), **options),
        dict(dataset=data_set(folder)),
    )


def changed(change):
    content = deepcopy(OWN)
    change(content)
    return content


OTHERS = {  # what is another, words of the error
    'images': (
        lambda c: [i.update(file_name=f'train_{i["id"]}.png') for i in c['images']],
        '2 of 2 images have another file name .*1.png and train_1.png',
    ),
    'one image': (
        lambda c: c['images'][1].update(file_name='x.png'),
        '1 of 2 images have another file name',
    ),
    'size': (
        lambda c: c['images'][0].update(width=65),
        '1 of 2 images have another size .*64 x 64 and 65 x 64',
    ),
    'no such image': (
        lambda c: (c['images'].pop(), c['annotations'].pop()),
        'lacks 1 of the 2 images',
    ),
    'box': (
        lambda c: c['annotations'][0].update(bbox=[1, 1, 9, 9]),
        '1 of 2 boxes are not there, 1 are others',
    ),
    'more boxes': (
        lambda c: c['annotations'].append(dict(box(1, 1, 1, 9, 9), id=9)),
        '0 of 2 boxes are not there, 1 are others',
    ),
    'fewer boxes': (lambda c: c['annotations'].pop(), '1 of 2 boxes are not there'),
    'class of a box': (
        lambda c: c['annotations'][0].update(category_id=2),
        '1 of 2 boxes',
    ),
    'crowd': (lambda c: c['annotations'][0].update(iscrowd=1), '1 of 2 boxes'),
    'order of classes': (
        lambda c: c['categories'].reverse(),
        r"categories are \['dog', 'cat'\], not \['cat', 'dog'\]",
    ),
    'names of classes': (
        lambda c: c['categories'][0].update(name='cow'),
        r"categories are \['dog'\], not \['cat', 'dog'\]",
    ),
}


@pytest.mark.parametrize('kind', ['CocoMetric', 'FasterCocoEvalMetric', 'OwnMetric'])
@pytest.mark.parametrize('case', OTHERS)
def test_another_file_is_refused(tmp_path, case, kind):
    change, words = OTHERS[case]
    with pytest.raises(UserError, match=words) as error:
        check(tmp_path, changed(change), kind)
    for text in ('other.json', 'val.json', 'Name the same file in both'):
        assert text in str(error.value)


@pytest.mark.parametrize(
    'change',
    [
        lambda c: c['annotations'].reverse(),
        lambda c: [a.update(id=a['id'] + 7, area=1) for a in c['annotations']],
        lambda c: c['images'].append(dict(OWN['images'][0], id=3, file_name='z.png')),
        lambda c: c['categories'].append(dict(id=9, name='not evaluated')),
        lambda c: (
            [a.update(category_id=10 * a['category_id']) for a in c['annotations']],
            [k.update(id=10 * k['id']) for k in c['categories']],
        ),
        lambda c: c['annotations'][0].update(bbox=[10.001, 10.0, 30, 30]),
    ],
)
def test_the_same_boxes_in_another_file_are_accepted(tmp_path, change):
    check(tmp_path, changed(change))


def test_other_boxes_matter_for_figures_alone(tmp_path):
    content = changed(lambda c: c['annotations'].clear())
    check(tmp_path, content, format_only=True, outfile_prefix='a')
    with pytest.raises(UserError, match='2 of 2 boxes'):
        check(tmp_path, content)


def test_the_same_file_by_other_names(tmp_path):
    (tmp_path / 'val.json').write_text(json.dumps(OWN))
    (tmp_path / 'link.json').symlink_to('val.json')
    shutil.copy(tmp_path / 'val.json', tmp_path / 'copy.json')
    for name in (
        'val.json',
        'link.json',
        'copy.json',
        os.path.join('..', 'x', 'val.json'),
    ):
        (tmp_path / 'x').mkdir(exist_ok=True)
        if name.startswith('..'):
            name = '../' + tmp_path.name + '/val.json'
        metric = dict(type='CocoMetric', ann_file=str(tmp_path / name))
        for evaluator in (metric, [metric], dict(metrics=[metric])):
            check_evaluator(evaluator, dict(dataset=data_set(tmp_path)))


def test_broken_file_of_the_evaluator(tmp_path):
    with pytest.raises(UserError, match='other.json has 1 annotations whose image_id'):
        check(tmp_path, changed(lambda c: c['annotations'][0].update(image_id=7)))


def joined(folder, second):
    (folder / 'val.json').write_text(json.dumps(OWN))
    (folder / 'second.json').write_text(json.dumps(second))
    both = deepcopy(OWN)
    both['images'] += [i for i in second['images'] if i['id'] > 2]
    both['annotations'] += [a for a in second['annotations'] if a['image_id'] > 2]
    (folder / 'both.json').write_text(json.dumps(both))
    check_evaluator(
        dict(type='CocoMetric', ann_file=str(folder / 'both.json')),
        dict(
            dataset=dict(
                type='ConcatDataset',
                datasets=[data_set(folder), data_set(folder, 'second.json')],
            )
        ),
    )


def test_data_sets_that_are_joined(tmp_path):
    with pytest.raises(UserError, match='2 ids of images in common'):
        joined(tmp_path, OWN)
    other = deepcopy(OWN)
    for image in other['images']:
        image['id'] += 2
    for annotation in other['annotations']:
        annotation.update(image_id=annotation['image_id'] + 2, id=annotation['id'] + 2)
    joined(tmp_path, other)


@pytest.mark.parametrize('first', [0, '0', 0.5, 2**53])
def test_ids_are_refused_where_ours_does_not_evaluate(tmp_path, first):
    content = changed(lambda c: c['annotations'][0].update(id=first))
    check(tmp_path, content, own=content)
    check(tmp_path, content, 'FasterCocoEvalMetric', own=content)
    with pytest.raises(UserError, match='OwnMetric evaluates by pycocotools.*: 1, as'):
        check(tmp_path, content, 'OwnMetric', own=content)


def test_masks_that_are_evaluated(tmp_path):
    check(tmp_path, OWN)
    check(tmp_path, OWN, metric='segm', format_only=True, outfile_prefix='a')
    for metric in ('segm', ['bbox', 'segm']):
        with pytest.raises(UserError, match='2 masks that are missing or empty'):
            check(tmp_path, OWN, metric=metric)


def test_ours_takes_the_place_of_mmdetections():
    for kind in ('CocoMetric', 'mmdet.CocoMetric', CocoMetric):
        given = dict(type=kind, ann_file='a')
        assert right_for_any_ids(given)['type'] is NumberedCocoMetric
        assert given['type'] == kind
        for evaluator in ([given], dict(type='Evaluator', metrics=[given])):
            assert "'ann_file': 'a'" in repr(right_for_any_ids(evaluator))
            assert 'NumberedCocoMetric' in repr(right_for_any_ids(evaluator))
    for kept in (
        dict(type='FasterCocoEvalMetric'),
        dict(type=FasterCocoEvalMetric),
        dict(type='OwnMetric'),
        Evaluator([]),
        None,
    ):
        assert right_for_any_ids(kept) == kept


@pytest.mark.parametrize('metric', ['CocoMetric', 'FasterCocoEvalMetric'])
def test_a_run_with_odd_ids(tmp_path, metric):
    """Trained and evaluated with ids of every part that fail elsewhere."""
    content = coco([box('a', 10, 10, 30, 30), box(2, 10, 10, 30, 30)])
    content['images'][0]['id'] = 'a'
    content['annotations'][0]['id'] = 'uuid'
    data = write_data(tmp_path / 'data', content)
    runner = small_run('fcos', data, tmp_path / 'run', **{'val_evaluator.type': metric})
    runner.train()
    assert 0 <= runner.message_hub.get_scalar('val/coco/bbox_mAP').current() <= 1
