"""Class names against annotation files: each way of disagreeing."""

import json

import pytest
from mmdet.registry import DATASETS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tresnet_det.data.class_names import check_class_names
from tresnet_det.training.runner.data_checks import check_dataset

FILE = ['cat', 'dog', 'owl']


def check(classes, categories=FILE, **kwargs):
    check_class_names(classes, categories, 'ann.json', **kwargs)


@pytest.fixture
def ann_file(tmp_path):
    (tmp_path / 'a.png').touch()
    path = tmp_path / 'ann.json'
    path.write_text(
        json.dumps(
            dict(
                images=[dict(id=7, file_name='a.png', width=64, height=64)],
                annotations=[
                    dict(
                        id=k,
                        image_id=7,
                        category_id=10 * k,
                        area=100,
                        bbox=[5, 5, 10, 10],
                        iscrowd=0,
                    )
                    for k in (1, 2, 3)
                ],
                categories=[
                    dict(id=10 * k, name=name) for k, name in enumerate(FILE, start=1)
                ],
            )
        )
    )
    return path


def coco(ann_file, classes, **kwargs):
    return dict(
        type='mmdet.CocoDataset',
        data_root=str(ann_file.parent),
        ann_file=ann_file.name,
        data_prefix=dict(img=''),
        metainfo=dict(classes=classes),
        **kwargs,
    )


def test_agreement():
    check(FILE)
    check(tuple(FILE))


@pytest.mark.parametrize(
    'classes, categories, message',
    [
        (['cat', 'dgo', 'owl'], FILE, "in the config but not in the file: .'dgo'"),
        (['cat', 'dgo', 'owl'], FILE, "in the file but not in the config: .'dog'"),
        (['cat', 'dog'], FILE, r"not in the config: \['owl'\]"),
        (FILE, ['cat', 'owl'], r"not in the file: \['dog'\]"),
        (['Cat', 'Dog'], FILE, 'not in the file'),
        (['dog', 'cat', 'owl'], FILE, 'in another order'),
        (FILE, [*FILE, 'cat'], r"more than once in the file: \['cat'\]"),
        ([*FILE, 'cat'], FILE, r"more than once in the config: \['cat'\]"),
        ([], FILE, r'config: \[\]'),
    ],
)
def test_disagreement_shows_both_lists(classes, categories, message):
    with pytest.raises(ValueError, match=message) as error:
        check(classes, categories)
    text = str(error.value)
    assert f'config: {classes}' in text and f'file:   {categories}' in text
    assert 'ann.json' in text
    loops = len(set(categories)) < len(categories)  # classes cannot mend it
    assert ('check_data.py' if loops else 'Write classes = ') in text


def test_remedy_is_the_line_to_write():
    with pytest.raises(ValueError) as error:
        check(['x'], ['cat'])
    line = str(error.value).split('Write ')[1].split(' in the config')[0]
    scope: dict = {}
    exec(line, scope)
    check(scope['classes'], ['cat'])


def test_forgotten_comma():
    with pytest.raises(ValueError, match=r"classes = \('cat', \)"):
        check('cat', ['cat'])


def test_subset_on_purpose():
    check(['cat', 'owl'], allow_subset=True)
    for wrong in (['owl', 'cat'], ['cat', 'olw']):
        with pytest.raises(ValueError):
            check(wrong, allow_subset=True)


def test_subset_is_offered_only_where_it_helps():
    with pytest.raises(ValueError, match='allow_class_subset'):
        check(['cat'])
    with pytest.raises(ValueError, match=r'mend the file\.$'):
        check(['cta'])


def test_mmdetection_does_what_the_check_is_for(ann_file):
    """If this fails, MMDetection has changed and the check may go."""
    labels = [
        [
            obj['bbox_label']
            for obj in DATASETS.build(coco(ann_file, classes))[0]['instances']
        ]
        for classes in (FILE, ['cta', 'dog', 'owl'], ['owl', 'dog', 'cat'])
    ]
    assert labels == [[0, 1, 2], [0, 1], [0, 1, 2]]  # shifted; misnamed


def test_data_sets_in_wrappers(ann_file):
    good, bad = coco(ann_file, FILE), coco(ann_file, ['cta', 'dog', 'owl'])
    wrap = dict(type='RepeatDataset', times=2)
    for cfg in (
        good,
        dict(wrap, dataset=good),
        dict(type='ConcatDataset', datasets=[good, good]),
    ):
        check_dataset(cfg)
    for cfg in (
        bad,
        dict(wrap, dataset=bad),
        dict(type='ConcatDataset', datasets=[good, bad]),
        dict(type='MultiImageMixDataset', pipeline=[], dataset=dict(wrap, dataset=bad)),
    ):
        with pytest.raises(ValueError, match='cta'):
            check_dataset(cfg)


def test_default_classes_are_checked(ann_file):
    cfg = coco(ann_file, FILE)
    del cfg['metainfo']
    with pytest.raises(ValueError, match="'person'"):
        check_dataset(cfg)


def test_other_data_sets_pass(ann_file):
    check_dataset(dict(type='mmdet.LVISV1Dataset', ann_file=str(ann_file)))


def test_panoptic_annotations_pass(tmp_path):
    """Their boxes are in ``segments_info``, which CocoDataset has not."""
    (tmp_path / 'ann.json').write_text(
        json.dumps(
            dict(
                images=[dict(id=7, file_name='a.jpg', width=64, height=64)],
                annotations=[
                    dict(
                        image_id=7,
                        file_name='a.png',
                        segments_info=[
                            dict(
                                id=8,
                                category_id=1,
                                area=100,
                                bbox=[5, 5, 10, 10],
                                iscrowd=0,
                            )
                        ],
                    )
                ],
                categories=[dict(id=1, name='cat', isthing=1)],
            )
        )
    )
    check_dataset(
        dict(
            type='mmdet.CocoPanopticDataset',
            data_root=str(tmp_path),
            ann_file='ann.json',
            data_prefix=dict(img='', seg=''),
            metainfo=dict(classes=['cat'], thing_classes=['cat'], stuff_classes=[]),
        )
    )


@pytest.mark.parametrize(
    'place',
    [
        dict(data_prefix=dict(img='http://no.such.host/images')),
        dict(backend_args=dict(backend='local')),
    ],
)
def test_images_are_looked_for_on_disks_alone(ann_file, place):
    cfg = dict(coco(ann_file, FILE), **place)
    check_dataset(cfg)
    (ann_file.parent / 'a.png').unlink()
    if 'backend_args' in place:
        with pytest.raises(ValueError, match='images .* are not there'):
            check_dataset(cfg)
    else:
        check_dataset(cfg)


def test_boxes_of_what_the_config_leaves_out_are_counted(ann_file):
    """As of a parent class, which Roboflow adds."""
    content = json.loads(ann_file.read_text())
    content['categories'].insert(0, dict(id=0, name='animals'))
    ann_file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="these: 0 of 'animals', 1 of 'owl'") as error:
        check_dataset(coco(ann_file, FILE[:2]))
    assert 'allow_class_subset' in str(error.value)


def test_no_box_of_the_classes_left(ann_file):
    content = json.loads(ann_file.read_text())
    content['annotations'][0]['ignore'] = 1
    ann_file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='no box of the classes .*"ignore"'):
        check_dataset(coco(ann_file, FILE[:1]), allow_subset=True)
    check_dataset(coco(ann_file, FILE))


def test_masks_are_checked_where_they_are_loaded(ann_file):
    masks = [dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True)]
    check_dataset(coco(ann_file, FILE, pipeline=[dict(type='mmdet.LoadAnnotations')]))
    for pipeline in (masks, [dict(type='RandomChoice', transforms=[masks])]):
        with pytest.raises(ValueError, match='3 masks that are missing or empty'):
            check_dataset(coco(ann_file, FILE, pipeline=pipeline))


def test_pycocotools_does_miss_id_0(ann_file):
    """If this fails, pycocotools has changed and our numbering may go."""
    precisions = []
    for first_id in (0, 1):
        truth = COCO()
        truth.dataset = json.loads(ann_file.read_text())
        for k, ann in enumerate(truth.dataset['annotations'], first_id):
            ann['id'] = k
        truth.createIndex()
        found = truth.loadRes(
            [
                dict({k: a[k] for k in ('image_id', 'category_id', 'bbox')}, score=1.0)
                for a in truth.dataset['annotations']
            ]
        )
        evaluation = COCOeval(truth, found, 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        precisions.append(evaluation.stats[0])
    assert precisions == pytest.approx([2 / 3, 1])
