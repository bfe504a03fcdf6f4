"""The first images of a set as a set of its own."""

import json

import pytest

from tresnet_det import UserError
from tresnet_det.data.coco_subset import make_subset


@pytest.fixture
def source(tmp_path):
    (tmp_path / 'img' / 'deep').mkdir(parents=True)
    names = ['b.jpg', 'deep/a.jpg', 'c.jpg']
    for name in names:
        (tmp_path / 'img' / name).write_text(name)
    (tmp_path / 'ann.json').write_text(
        json.dumps(
            dict(
                images=[
                    dict(id=9 - k, file_name=n, width=9, height=9)
                    for k, n in enumerate(names)
                ],
                annotations=[
                    dict(id=k, image_id=6 + k, category_id=4, area=4, bbox=[1, 1, 2, 2])
                    for k in (1, 2, 3)
                ],
                categories=[dict(id=4, name='x'), dict(id=5, name='y')],
            )
        )
    )
    return tmp_path / 'ann.json', tmp_path / 'img', tmp_path / 'out'


def test_keeps_images_their_annotations_and_all_categories(source):
    make_subset(*source, num_images=2)
    out = source[2]
    content = json.loads((out / 'annotations' / 'instances_train.json').read_text())
    assert [i['id'] for i in content['images']] == [9, 8]
    assert [a['id'] for a in content['annotations']] == [2, 3]
    assert len(content['categories']) == 2
    assert (out / 'train' / 'deep' / 'a.jpg').read_text() == 'deep/a.jpg'
    assert not (out / 'train' / 'c.jpg').exists()


def test_errors_leave_nothing(source):
    ann_file, images, out = source
    for count in (0, 4):
        with pytest.raises(ValueError, match=f'num_images is {count}'):
            make_subset(ann_file, images, out, count)
    (images / 'b.jpg').unlink()
    with pytest.raises(UserError, match='b.jpg'):
        make_subset(ann_file, images, out, 1)
    assert not out.exists()
    out.mkdir()
    with pytest.raises(FileExistsError, match='remove it'):
        make_subset(ann_file, images, out, 1)


@pytest.mark.parametrize(
    'name',
    [
        '../p.png',
        'deep/../../p.png',
        '/p.png',
        '..\\p.png',
        'C:\\p.png',
        'C:p.png',
        '\\\\host\\share\\p.png',
        '..',
    ],
)
def test_names_that_leave_the_folder_are_refused(source, name):
    """Else the copy would replace the file that the name leads to."""
    ann_file, images, out = source
    content = json.loads(ann_file.read_text())
    content['images'][0]['file_name'] = name
    ann_file.write_text(json.dumps(content))
    (images.parent / 'p.png').write_text('image')
    before = sorted(images.parent.rglob('*'))
    with pytest.raises(UserError, match=r'file_name leaves .* \(id 9\)'):
        make_subset(ann_file, images, out, 1)
    assert sorted(images.parent.rglob('*')) == before


def test_links_are_not_followed_out(source, tmp_path):
    ann_file, images, out = source
    (tmp_path / 'precious').write_text('precious')
    out.symlink_to(tmp_path / 'nothing')
    with pytest.raises(FileExistsError, match='remove it'):
        make_subset(ann_file, images, out, 1)
    out.unlink()
    (images / 'b.jpg').unlink()
    (images / 'b.jpg').symlink_to(tmp_path / 'precious')
    make_subset(ann_file, images, out, 1)
    assert not (out / 'train' / 'b.jpg').is_symlink()
    assert (tmp_path / 'precious').read_text() == 'precious'
