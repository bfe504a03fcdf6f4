"""What the check of annotations lets pass, and what it warns of."""

from unittest.mock import patch

import pytest
from small_runs import SIZE, box, coco

from tresnet_det import UserError
from tresnet_det.data.annotation_checks import check_annotations
from tresnet_det.data.image_checks import check_images_exist


def warning(annotations):
    with patch('tresnet_det.data.box_checks.print_log') as log:
        check_annotations(coco(annotations), 'ann.json', test_mode=True)
    return log.call_args.args[0] if log.called else ''


@pytest.mark.parametrize(
    'lost',
    [
        box(1, 5, 5, 0, 9),
        box(1, 5, 5, 9, 0),
        box(1, 5, 5, 0.5, 9),
        box(1, 5, 5, -9, 9),
        box(1, SIZE, 5, 9, 9),
        box(1, 5, -9, 9, 9),
        box(1, 5, 5, 9, 9, area=0),
        box(1, 5, 5, 9, 9, ignore=1),
    ],
)
def test_boxes_that_training_leaves_out_are_told(lost):
    text = warning([box(1, 5, 5, 9, 9), lost])
    assert '1 boxes of ann.json' in text and '(annotations 2)' in text


@pytest.mark.parametrize(
    'kept',
    [
        box(1, 5, 5, 1, 1),
        box(1, -5, -5, 9, 9),
        box(1, 5, 5, 9, 9, iscrowd=1),
    ],
)
def test_odd_boxes_that_count_are_not(kept):
    assert not warning([kept])


def test_submission_files_have_no_annotations():
    content = coco([])
    del content['annotations']
    check_annotations(content, 'ann.json', test_mode=True)
    with pytest.raises(UserError, match='"annotations"'):
        check_annotations(content, 'ann.json')


def test_many_faults_are_counted_and_some_named():
    content = coco([box(9, 5, 5, 9, 9) for _ in range(70)])
    with pytest.raises(
        UserError,
        match=r'70 annotations .*\(id 1, 2, 3, 4, 5 '
        'and 65 more',
    ):
        check_annotations(content, 'ann.json')


def test_images_in_folders_of_their_own(tmp_path):
    content = coco([], num_images=2)
    for place, image in enumerate(content['images']):
        image['file_name'] = f'{place}/a.png'
        (tmp_path / str(place)).mkdir()
        (tmp_path / str(place) / 'a.png').touch()
    check_images_exist(content, tmp_path, 'ann.json')
    (tmp_path / '1' / 'a.png').unlink()
    check_images_exist(content, tmp_path, 'ann.json', allow_some=True)
    with pytest.raises(UserError, match='1 of 2 images .*1/a.png'):
        check_images_exist(content, tmp_path, 'ann.json')
    (tmp_path / '0' / 'a.png').unlink()
    with pytest.raises(UserError, match='2 of 2 images'):
        check_images_exist(content, tmp_path, 'ann.json', allow_some=True)


def refused(content, match, **options):
    with pytest.raises(UserError, match=match) as error:
        check_annotations(content, 'ann.json', **options)
    return str(error.value)


@pytest.mark.parametrize('value', ['0', '1', 'false', 2, [], {}, -1])
def test_ignore_that_python_takes_for_true_is_refused(value):
    """MMDetection drops a box by the truth of "ignore", COCO by iscrowd."""
    text = refused(
        coco([box(1, 5, 5, 9, 9, ignore=value)]), r'ignore is neither 0 nor 1 \(id 1\)'
    )
    assert ('check_data.py' in text) == (value in ('0', '1'))


@pytest.mark.parametrize('value', [0, False, None, 0.0])
def test_ignore_that_is_off(value):
    assert not warning([box(1, 5, 5, 9, 9, ignore=value)])


def test_nothing_left_to_train_on():
    lost = [box(1, 5, 5, 9, 9, ignore=1), box(2, 99, 5, 9, 9), box(2, 5, 5, 0, 9)]
    text = refused(coco(lost), 'no box of ann.json is left to train on: of 3, ')
    for reason in ('marked by "ignore" (annotations 1)', 'outside', 'than a pixel'):
        assert reason in text
    check_annotations(coco(lost), 'ann.json', test_mode=True)


@pytest.mark.parametrize('test_mode', [True, False])
def test_corners_are_told_from_boxes(test_mode):
    """[x1, y1, x2, y2] of objects all over the image."""
    corners = [
        box(1 + k % 2, x, y, x + 20, y + 15)
        for k, (x, y) in enumerate((x, y) for x in (0, 20, 40) for y in (5, 30, 48))
    ]
    text = refused(coco(corners), 'look like corners', test_mode=test_mode)
    assert '--corners' in text
    for annotation in corners:
        x, y, x2, y2 = annotation['bbox']
        annotation.update(bbox=[x, y, x2 - x, y2 - y])
    assert not warning(corners)


def test_large_boxes_are_no_corners():
    assert not warning([box(1, 2, 3, 60, 59), box(2, 0, 0, SIZE, SIZE)])


def test_boxes_of_another_size_of_image():
    assert '1 of 1 boxes of ann.json leave their image' in warning(
        [box(1, 60, 60, 90, 90)]
    )


def test_fractions_are_told():
    refused(coco([box(1, 0.1, 0.2, 0.3, 0.4), box(2, 0, 0, 1, 1)]), 'fractions')


def test_numbers_in_quotes():
    """As Roboflow has written width and height of boxes."""
    text = refused(
        coco([box(1, 4, 5, 1, 1, bbox=[4, 5, '9.5', '8'])]),
        r'1 annotations whose bbox is not .* \(id 1\)',
    )
    assert "quotes, as in [4, 5, '9.5', '8']" in text and 'check_data.py' in text
    assert 'check_data.py' not in refused(
        coco([box(1, 4, 5, 1, 1, bbox=[4, 5, 'a', 8])]), 'bbox is not'
    )


@pytest.mark.parametrize('key', ['image_id', 'category_id'])
def test_strings_against_numbers(key):
    text = refused(
        coco([dict(box(1, 5, 5, 9, 9), **{key: '1'})]), f'{key} is none of the'
    )
    assert f"{key} is a string and the id a number: '1' and 1" in text
    assert 'check_data.py' in text
    assert 'check_data.py' not in refused(
        coco([dict(box(1, 5, 5, 9, 9), **{key: '7'})]), 'is none of the'
    )


@pytest.mark.parametrize('key', [True, None, float('nan'), float('inf'), {}])
def test_ids_that_are_none(key):
    content = coco([box(1, 5, 5, 9, 9)])
    content['annotations'][0]['id'] = key
    refused(content, 'annotations whose id is no number or string')


def test_detections_in_place_of_annotations():
    refused([dict(image_id=1, score=0.5)], 'holds a list.*swapped')


@pytest.mark.parametrize('value', [10**400, float('inf'), '1', True])
def test_all_boxes_are_looked_at_at_once(value):
    """Whole lists are tested first, then each box for the message."""
    boxes = [box(1, 5, 5, 9, 9) for _ in range(9)]
    boxes[7]['bbox'][2] = value
    refused(coco(boxes), r'1 annotations whose bbox is not .* \(id 8\)')
    boxes[7] = box(1, 5, 5, 9, 9, area=value)
    refused(coco(boxes), r'1 annotations whose area is no finite number \(id 8\)')
