"""What the check of annotations lets pass, and what it warns of."""

from unittest.mock import patch

import pytest
from small_runs import SIZE, box, coco

from tresnet_det import UserError
from tresnet_det.data.annotation_checks import check_annotations, check_images_exist


def warning(annotations):
    with patch('tresnet_det.data.annotation_checks.print_log') as log:
        check_annotations(coco(annotations), 'ann.json', test_mode=True)
    return log.call_args.args[0] if log.called else ''


@pytest.mark.parametrize('lost', [
    box(1, 5, 5, 0, 9), box(1, 5, 5, 9, 0), box(1, 5, 5, 0.5, 9),
    box(1, 5, 5, -9, 9), box(1, SIZE, 5, 9, 9), box(1, 5, -9, 9, 9),
    box(1, 5, 5, 9, 9, area=0)])
def test_boxes_that_training_leaves_out_are_told(lost):
    text = warning([box(1, 5, 5, 9, 9), lost])
    assert '1 boxes of ann.json' in text and '(annotations 2)' in text


@pytest.mark.parametrize('kept', [
    box(1, 5, 5, 1, 1), box(1, -5, -5, 9, 9), box(1, 60, 60, 90, 90),
    box(1, 5, 5, 9, 9, iscrowd=1)])
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
    with pytest.raises(UserError, match=r'70 annotations .*\(id 1, 2, 3, 4, 5 '
                                        'and 65 more'):
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
