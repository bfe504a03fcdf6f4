"""Odd boxes are trained and evaluated, or refused before training."""

import pytest
from small_runs import SIZE, box, coco, small_run, write_data

import tresnet_det  # noqa: F401  registers the runner
from tresnet_det import UserError

BOX = box(1, 10, 10, 30, 30)
MANY = tuple(f'class {k}' for k in range(1200))

# What is odd -> annotations, classes. The second image has a plain box where
# nothing is said of it, so that something is left to train on.
ODD = {
    'one image of two is empty': ([BOX], ['thing']),
    'over each border': (
        [box(1, -20, -20, 50, 50), box(1, 40, 40, 50, 50), box(2, -20, -20, 200, 200)],
        ['thing'],
    ),
    'wholly outside': (
        [box(1, 100, 100, 20, 20), box(1, -50, 0, 20, 20), box(2, 10, 10, 20, 20)],
        ['thing'],
    ),
    'no area': (
        [
            box(1, 10, 10, 0, 20),
            box(1, 10, 10, 20, 0),
            box(1, 10, 10, 0, 0),
            box(2, 10, 10, 20, 20),
        ],
        ['thing'],
    ),
    'crowd only': (
        [box(1, 10, 10, 30, 30, iscrowd=1), box(2, 0, 0, SIZE, SIZE, iscrowd=1)],
        ['thing'],
    ),
    'objects of one pixel': (
        [box(1, 3 * k, 3 * k, 1, 1) for k in range(20)]
        + [box(2, SIZE - 1, SIZE - 1, 1, 1)],
        ['thing'],
    ),
    'the same box 300 times': ([BOX] * 300, ['thing']),
    '1200 classes': (
        [box(1 + k % 2, k % 40, 10, 20, 20, category=k) for k in range(1, 1201, 40)],
        MANY,
    ),
    'a class without a box': ([BOX], ['thing', 'nothing']),
}


@pytest.mark.parametrize('detector', ['fcos', 'faster_rcnn'])
@pytest.mark.parametrize('odd', ODD)
def test_trained_and_evaluated(tmp_path, detector, odd):
    annotations, classes = ODD[odd]
    root = write_data(tmp_path / 'data', coco(annotations, classes))
    runner = small_run(detector, root, tmp_path / 'run', tuple(classes))
    runner.train()
    assert runner.iter >= 2
    state = runner.model.state_dict()
    assert all(
        value.isfinite().all() for value in state.values() if value.is_floating_point()
    )
    # Each number is a true average precision or "no such object".
    ap = runner.message_hub.get_scalar('val/coco/bbox_mAP').current()
    assert ap == -1 or 0 <= ap <= 1


@pytest.mark.parametrize('split', ['train', 'val'])
def test_no_boxes_at_all(tmp_path, split):
    """Nothing to train on is refused; nothing to find is evaluated."""
    data = {
        name: write_data(tmp_path / name, coco([] if name == split else [BOX]))
        for name in ('train', 'val')
    }
    runner = small_run(
        'fcos',
        data['train'],
        tmp_path / 'run',
        **{
            'val_dataloader.dataset.data_root': str(data['val']),
            'val_evaluator.ann_file': str(data['val'] / 'ann.json'),
        },
    )
    if split == 'train':
        with pytest.raises(UserError, match='no image is left to train on'):
            runner.train()
        assert not list((tmp_path / 'run').glob('*.pth'))
    else:
        runner.train()
        assert runner.message_hub.get_scalar('val/coco/bbox_mAP').current() == -1
