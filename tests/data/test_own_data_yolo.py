"""Layouts and habits of YOLO's exports: splits in data.yaml, names, label files."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_own_data_formats import boxes_in

import tresnet_det  # noqa: F401
from tresnet_det import UserError
from tresnet_det.data.own_data import Options, make_own_data
from tresnet_det.data.own_data.formats import recognised
from tresnet_det.data.own_data.tree import Tree


def made(root, images, yaml='names: [a, b]', **files):
    """A source whose images have one box each, beside them or under labels.

    Args:
        images: Paths; of each the label is where Ultralytics looks for it.
        yaml: Of data.yaml.
        files: Others, by name with _ for the dot.
    """
    rng = np.random.default_rng(0)
    for image in images:
        file = root / image
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 50), np.uint8)).save(file)
        label = Path(str(file).replace('/images/', '/labels/')).with_suffix('.txt')
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text('0 .5 .5 .2 .2')
    (root / 'data.yaml').write_text(yaml)
    for name, text in files.items():
        (root / name.replace('_', '.')).write_text(text)
    return root


def splits(root, out, **options):
    """Names of the images of each split, and what was told."""
    told = make_own_data(root, out, Options(alike=True, **options)).lines
    there = {
        split: sorted(p.name for p in (out / split).iterdir())
        for split in ('train', 'val', 'test')
        if (out / split).exists()
    }
    return there, '\n'.join(told)


FOUR = ['images/one/1.png', 'images/one/2.png', 'images/two/3.png', 'images/two/4.png']
DIVIDED = {'train': ['1.png', '2.png'], 'val': ['3.png', '4.png']}


@pytest.mark.parametrize(
    ('train', 'val'),
    [
        ('images/one', 'images/two'),
        ('./images/one', '../images/two'),
        ('/home/bob/set/images/one', '/home/bob/set/images/two'),
        (r'C:\bob\set\images\one', r'C:\bob\set\images\two'),
        ('/data/train/images/one', '/data/train/images/two'),
        ('/home/dev/set/images/one', '/home/dev/set/images/two'),
        ('/train/one', '/val/images/two'),  # see below
        ('images', 'images/two'),
        ('set/images/one', 'two'),
        ('first.txt', '/home/bob/second.txt'),
    ],
)
def test_splits_of_data_yaml(tmp_path, train, val):
    source = made(
        tmp_path / 'set',
        FOUR,
        f"names: [a, b]\ntrain: '{train}'\nval: '{val}'\n",
        first_txt='images/one/1.png\nimages/one/2.png\n',
        second_txt='3.png\n4.png\n',
    )
    if train in ('/train/one', 'set/images/one'):
        # What names a split is not here, or 'set': the images may be others'.
        _, told = splits(source, tmp_path / 'out')
        assert 'drawn from seed 0' in told
        assert 'folders or lists of data.yaml have no image here' in told
    else:
        assert splits(source, tmp_path / 'out')[0] == DIVIDED


def test_only_takes_labels_and_leaves_their_names(tmp_path):
    """As the error about two formats advises; lists count too."""
    source = made(
        tmp_path / 'set',
        FOUR,
        train_txt='images/one/1.png\nimages/one/2.png',
        val_txt='images/two/3.png\nimages/two/4.png',
    )
    (source / 'spare.json').write_text('{"shapes": [], "imagePath": "1.png"}')
    with pytest.raises(UserError, match=r"YOLO: --only '\*.txt'"):
        make_own_data(source, tmp_path / 'out')
    there, _ = splits(source, tmp_path / 'out', only='labels/*/*.txt')
    assert there == DIVIDED
    assert {*recognised(Tree(source, only='*.json'))} == {'labelme'}
    there, told = splits(source, tmp_path / 'some', only='labels/*/[134].txt')
    assert there == {'train': ['1.png'], 'val': ['3.png', '4.png']}
    assert '1 images whose label file was not chosen were left out' in told
    with pytest.raises(UserError, match="--only 'x.*' takes no other file"):
        make_own_data(source, tmp_path / 'none', Options(only='x.*'))


def test_names_are_as_written(tmp_path):
    """YAML takes no, on and 01 for False, True and 1."""
    source = made(tmp_path / 'set', FOUR, "names: [no, on, 01, ' x ']")
    told = make_own_data(source, tmp_path / 'out', Options(alike=True)).lines
    assert [line.split(':')[0].strip() for line in told if line[:2] == '  '][:4] == [
        *('no', 'on', '01', 'x')
    ]
    (source / 'data.yaml').write_text('names: [[a], b]')
    with pytest.raises(UserError, match='expected is a list of names'):
        make_own_data(source, tmp_path / 'other')


def test_labels_named_as_people_name_them(tmp_path):
    source = made(tmp_path / 'set', ['1.png', '2.png', '3.png', 'A.png', 'a.png'])
    (source / '1.txt').rename(source / '1.TXT')
    (source / '2.txt').rename(source / '2.png.txt')
    (source / '3.png').rename(source / 'Drei.png')
    (source / '3.txt').rename(source / 'drei.txt')
    (source / 'a.txt').write_text('1 .5 .5 .2 .2')
    make_own_data(source, tmp_path / 'out', Options(alike=True, val_share=0.4))
    found = {name: boxes for (_, name), boxes in boxes_in(tmp_path / 'out').items()}
    assert {name: [label for label, _ in boxes] for name, boxes in found.items()} == {
        **dict.fromkeys(['1.png', '2.png', 'Drei.png', 'A.png'], ['a']),
        'a.png': ['b'],
    }


def test_what_is_no_label_and_what_lost_its_image(tmp_path):
    source = made(
        tmp_path / 'set',
        FOUR,
        train_txt='1.png\n2.png\nimages/one/9.png',
        val_txt='3.png\n4.png',
        requirements_dev_txt='numpy==1.2\n',
    )
    (source / 'labels' / 'notes.txt').write_text('checked by Bob\n')
    with pytest.raises(UserError, match='1 images are missing.*9.png of train.txt'):
        make_own_data(source, tmp_path / 'out', Options(alike=True))
    labels = source / 'labels' / 'one'
    shutil.copy(labels / '1.txt', labels / '9.txt')
    with pytest.raises(UserError, match='1 images are missing'):  # told once
        make_own_data(source, tmp_path / 'out', Options(alike=True))
    there, told = splits(source, tmp_path / 'out', skip_broken=True)
    assert there == DIVIDED
    assert '1 text files are no labels and were passed over' in told


def test_one_set_for_val_and_test(tmp_path):
    yaml = 'names: [a, b]\ntrain: images/one\nval: images/two\ntest: images/two'
    there, _ = splits(made(tmp_path / 'set', FOUR, yaml), tmp_path / 'out')
    assert there == DIVIDED


def test_endings_within_names(tmp_path):
    source = made(tmp_path / 'set', ['images/b.png', 'images/d.JPG.png'])
    (source / 'labels' / 'd.JPG.txt').write_text('1 .5 .5 .2 .2')
    make_own_data(source, tmp_path / 'out', Options(alike=True))
    found = {name: boxes for (_, name), boxes in boxes_in(tmp_path / 'out').items()}
    assert {n: [label for label, _ in boxes] for n, boxes in found.items()} == {
        'b.png': ['a'],
        'd.JPG.png': ['b'],
    }
