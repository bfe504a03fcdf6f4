"""What cannot be used is one error that says what to do, and nothing is lost."""

import json
import os
import re
import runpy
import shlex
import shutil
import stat
import sys
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from exports import drawn_shots, written
from PIL import Image
from test_own_data_formats import boxes_in, snapshot

import tresnet_det  # noqa: F401
from tresnet_det import UserError
from tresnet_det.data.own_data import Options, make_own_data
from tresnet_det.data.own_data.seen import turned_box

TOOL = Path(__file__).parents[2] / 'tools' / 'own_data.py'


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    return drawn_shots(tmp_path_factory.mktemp('drawn'))


def edit_json(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def label(source, line, which='train_0'):
    (source / 'train' / 'labels' / f'{which}.txt').write_text(line)


def labelled(source, **value):
    """Changes the first box of the first task of Label Studio."""
    edit_json(
        source / 'train.json',
        lambda c: c[0]['annotations'][0]['result'][0]['value'].update(value),
    )


def two_annotations(tasks):
    tasks[0]['annotations'] *= 2


def same_name(content):
    content['categories'][1]['name'] = content['categories'][2]['name'] = 'cat'


def zip_of(source, **members):
    """A zip in place of the source; with other members beside."""
    with zipfile.ZipFile(source / 'export.zip', 'w') as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def outside(source):
    zip_of(source, **{'../../evil.txt': 'x', 'data.yaml': 'names: [a]'})


def linked(source):
    with zipfile.ZipFile(source / 'export.zip', 'w') as archive:
        member = zipfile.ZipInfo('train/1.jpg')
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, '/etc/passwd')


def damaged_zip(source):
    file = shutil.make_archive(source.parent / 'z', 'zip', source)
    data = bytearray(Path(file).read_bytes())
    data[60:120] = bytes(60)
    (source / 'export.zip').write_bytes(data)


def cut_zip(source):
    file = Path(shutil.make_archive(source.parent / 'z', 'zip', source))
    (source / 'export.zip').write_bytes(file.read_bytes()[:-300])


def gzipped(source, mode):
    with tarfile.open(source / 'export.tar', mode) as archive:
        archive.add(source / 'data.yaml', 'data.yaml')


def rename_file(content):
    content['images'][0]['file_name'] = 'nowhere.jpg'


def ids_twice(content):
    content['images'][1]['id'] = content['images'][0]['id']


def other_size(content):
    content['images'][0].update(width=48, height=32)


def huge(source):
    """A member that says it is larger than any disk."""
    zip_of(source, **{'a.txt': 'x'})
    with zipfile.ZipFile(source / 'export.zip', 'a') as archive:
        archive.filelist[0].file_size = 2**60
        archive._didModify = True


ROBOFLOW = '_annotations.coco.json'
# export, what is done to it, words of the error
BAD = {
    'empty folder': ('yolo', lambda s: [shutil.rmtree(s), s.mkdir()], '0 images'),
    'nothing known': (
        'yolo',
        lambda s: [shutil.rmtree(s), s.mkdir(), (s / 'a.csv').write_text('1')],
        'holds no annotations that are known',
    ),
    'two formats': (
        'voc',
        lambda s: (s / 'a.json').write_text('{"shapes": [], "imagePath": "a.jpg"}'),
        'in 2 formats: labelme (a.json); Pascal VOC',
    ),
    'no image': (
        'voc',
        lambda s: shutil.rmtree(s / 'JPEGImages'),
        'and no image. Name the folder of the images with --images',
    ),
    'image missing': (
        'voc',
        lambda s: (s / 'JPEGImages' / 'train_0.jpg').unlink(),
        '1 images are missing or cannot be read: train_0.jpg of',
    ),
    'label without image': (
        'yolo',
        lambda s: (s / 'train' / 'images' / 'train_0.jpg').unlink(),
        'the image of train/labels/train_0.txt',
    ),
    'no picture': (
        'voc',
        lambda s: (s / 'JPEGImages' / 'train_0.jpg').write_text('x'),
        'is no image that can be read',
    ),
    'cut xml': (
        'voc',
        lambda s: (s / 'Annotations' / 'train_0.xml').write_text('<annotation>'),
        'train_0.xml is no whole XML file',
    ),
    'xml that reads other files': (
        'voc',
        lambda s: (s / 'Annotations' / 'train_0.xml').write_text(
            '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;'
            '</annotation>'
        ),
        'train_0.xml is no whole XML file (EntitiesForbidden',
    ),
    'no number in xml': (
        'voc',
        lambda s: (s / 'Annotations' / 'train_0.xml').write_text(
            (s / 'Annotations' / 'train_0.xml').read_text().replace('<xmin>', '<xmin>a')
        ),
        "train_0.xml: Invalid 'xmin'",
    ),
    'class index outside': (
        'yolo',
        lambda s: label(s, '7 0.5 0.5 0.1 0.1'),
        'train_0.txt, line 1: the class 7 is not there, there are 0 to 1 (cat, dog)',
    ),
    'pixels in place of fractions': (
        'yolo',
        lambda s: label(s, '0 50 50 10 10'),
        'expected are fractions',
    ),
    'words in a label': ('yolo', lambda s: label(s, 'cat 0.5 0.5 1 1'), 'are numbers'),
    'nan in a label': ('yolo', lambda s: label(s, '0 nan 0.5 0.1 0.1'), 'train_0.txt'),
    'short line': ('yolo', lambda s: label(s, '0 0.5 0.5'), 'at least 5 tokens'),
    'negative width': ('yolo', lambda s: label(s, '0 0.5 0.5 -0.1 0.1'), 'train_0.txt'),
    'label in another encoding': (
        'yolo',
        lambda s: (s / 'data.yaml').write_bytes('names: [Käse]'.encode('latin-1')),
        'data.yaml is not in UTF-8',
    ),
    'no names': ('yolo', lambda s: (s / 'data.yaml').unlink(), 'nothing names the'),
    'damaged yaml': (
        'yolo',
        lambda s: (s / 'data.yaml').write_text('names: [a'),
        'data.yaml is no whole YAML file',
    ),
    'a name twice': (
        'yolo',
        lambda s: (s / 'data.yaml').write_text('names: [cat, cat]'),
        'cat stands there twice',
    ),
    'names with a gap': (
        'yolo',
        lambda s: (s / 'data.yaml').write_text('names: {0: cat, 2: dog}'),
        'none left out',
    ),
    'per cent above 100': (
        'label_studio',
        lambda s: labelled(s, x=150),
        'expected are per cent of the image',
    ),
    'two annotations of a task': (
        'label_studio',
        lambda s: edit_json(s / 'train.json', two_annotations),
        'has 2 annotations. Which one counts?',
    ),
    'a task without an image': (
        'label_studio',
        lambda s: edit_json(s / 'train.json', lambda c: c[0]['data'].update(image='')),
        'names no image',
    ),
    'cut json': (
        'label_studio',
        lambda s: (s / 'train.json').write_text('[{"data": '),
        'train.json is no whole JSON file',
    ),
    'a rectangle of one point': (
        'labelme',
        lambda s: edit_json(
            s / 'train' / 'train_0.json',
            lambda c: c['shapes'][0].update(points=[[1, 2]]),
        ),
        'expected at least 2',
    ),
    'a film': (
        'cvat',
        lambda s: (s / 'annotations.xml').write_text(
            '<annotations><track/></annotations>'
        ),
        'is of a video',
    ),
    'two classes of one name': (
        'roboflow',
        lambda s: edit_json(s / 'train' / ROBOFLOW, same_name),
        "'cat' is id 1 (3 boxes) and id 2 (3 boxes)",
    ),
    'image named that is not there': (
        'roboflow',
        lambda s: edit_json(s / 'train' / ROBOFLOW, rename_file),
        'nowhere.jpg of train/_annotations.coco.json',
    ),
    'image ids twice': (
        'roboflow',
        lambda s: edit_json(s / 'train' / ROBOFLOW, ids_twice),
        '1 ids used by several images',
    ),
    'two files of one split': (
        'coco',
        lambda s: shutil.copy(
            s / 'annotations' / 'instances_train.json', s / 'train_again.json'
        ),
        '--only',
    ),
    'images of another size': (
        'roboflow',
        lambda s: edit_json(s / 'train' / ROBOFLOW, other_size),
        'is 96 x 64, stated 48 x 32. Which do the boxes refer to?',
    ),
    'one image in two splits': (
        'voc',
        lambda s: (s / 'ImageSets' / 'Main' / 'val.txt').write_text('val_0'),
        '1 images are in no split',
    ),
    'member outside': ('yolo', outside, "members that leave the folder ('../../evil"),
    'member that is a link': ('yolo', linked, 'are links'),
    'damaged zip': ('yolo', damaged_zip, 'no whole zip archive'),
    'empty zip': ('yolo', zip_of, 'holds no annotations that are known'),
    'larger than the disk': ('yolo', huge, 'GB free'),
    'damaged zip, cut': ('yolo', lambda s: cut_zip(s), 'nor a zip'),
    'gzip': ('yolo', lambda s: gzipped(s, 'w:gz'), 'Unpack it, and give the folder'),
    'tar': ('yolo', lambda s: gzipped(s, 'w'), 'Unpack it, and give the folder'),
    'no zip': ('yolo', lambda s: (s / 'export.zip').write_text('x'), 'nor a zip'),
}


def test_these_are_forty_and_more():
    assert len(BAD) >= 40


@pytest.mark.parametrize('case', BAD)
def test_one_error_and_nothing_written(tmp_path, drawn, case):
    export, change, words = BAD[case]
    source = written(drawn, tmp_path / 'source', export)
    change(source)
    given = next(source.glob('export.*'), source)
    before = snapshot(tmp_path)
    with pytest.raises(UserError) as error:
        make_own_data(given, tmp_path / 'deep' / 'er' / 'out')
    assert words in str(error.value)
    assert snapshot(tmp_path) == before


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, 'argv', ['own_data.py', *map(str, arguments)])
    try:
        runpy.run_path(str(TOOL), run_name='__main__')
    except SystemExit as stop:
        return str(stop.code)
    return capsys.readouterr().out


def test_the_command(tmp_path, drawn, monkeypatch, capsys):
    source = written(drawn, tmp_path / 'source', 'voc')
    out = tmp_path / 'out'
    told = run(monkeypatch, capsys, source, out, '--size', '64', '64')
    assert told.endswith(f'    python tools/train.py {out / "config.py"}\n')
    assert 'train: 3 images, 6 objects' in told and '  cat: 3, 2' in told
    before = snapshot(tmp_path)
    assert 'nothing is changed' in run(
        monkeypatch, capsys, source, out, '--size', '64', '64'
    )
    (tmp_path / 'file').touch()
    for arguments, words in (
        ((source, out), 'was made from other options: size [64, 64], now None'),
        ((source, out, '--size', '64', '64', '--seed', '1'), 'seed 0, now 1'),
        ((tmp_path / 'drawn', out), 'is not there'),
        ((source, source), 'lies in the source'),
        ((source, source / 'JPEGImages' / 'out'), 'lies in the source'),
        ((source / 'JPEGImages', source), 'lies in'),
        ((source, tmp_path / 'file'), 'is a file'),
        ((source, source.parent), 'lies in'),
        ((out, source), 'holds something else (Annotations'),
        ((source, tmp_path / 'new', '--family', 'gfl', '--arch', 'xl'), 'gfl m'),
        ((source, tmp_path / 'new', '--family', 'gfl', '--weights', 'random'), 'alone'),
        ((source, tmp_path / 'new', '--val-share', '2'), 'expected 0 to 1'),
    ):
        text = run(monkeypatch, capsys, *arguments)
        assert text.startswith('error: ') and words in text, text
    (tmp_path / 'file').unlink()
    assert snapshot(tmp_path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason='anybody else may not change the user')
def test_a_folder_that_may_not_be_written(tmp_path, drawn, monkeypatch, capsys):
    source = written(drawn, tmp_path / 'source', 'voc')
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    os.seteuid(65534)
    try:
        text = run(monkeypatch, capsys, source, tmp_path / 'out')
    finally:
        os.seteuid(0)
    assert text.startswith('error: ') and 'Permission denied' in text
    assert not (tmp_path / 'out').exists()


def test_what_only_the_person_knows(tmp_path, drawn):
    source = written(drawn, tmp_path / 'source', 'roboflow')
    file = source / 'train' / ROBOFLOW
    whole = file.read_text()
    edit_json(file, same_name)
    result = make_own_data(source, tmp_path / 'same', Options(merge_names=True))
    assert '  1 categories had the name of another' in result.lines
    file.write_text(whole)
    edit_json(file, other_size)
    one, other = [
        sorted(box for _, box in boxes_in(tmp_path / how)['train', 'train_0.jpg'])
        for how in ('seen', 'stated')
        if make_own_data(source, tmp_path / how, Options(boxes_on=how))
    ]
    assert np.allclose(2 * np.array(one), other, atol=0.01)
    file.write_text(whole)
    edit_json(file, rename_file)
    result = make_own_data(source, tmp_path / 'broken', Options(skip_broken=True))
    assert len(list((tmp_path / 'broken' / 'train').iterdir())) == 2
    assert '  1 images are missing or unreadable and were left out' in result.lines


def test_new_splits_keep_look_alikes_together(tmp_path):
    """Sixteen photographs, each also in half the size and as a poor JPEG."""
    rng = np.random.default_rng(1)
    for number in range(16):
        grid = rng.integers(0, 256, (8, 8, 3), np.uint8)
        picture = cv2.resize(grid, (128, 128), interpolation=cv2.INTER_CUBIC)
        for kind, side, quality in (('a', 128, 95), ('b', 64, 95), ('c', 128, 40)):
            file = tmp_path / 'in' / f'{kind}{number:02d}.jpg'
            file.parent.mkdir(exist_ok=True)
            small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(file), small, [cv2.IMWRITE_JPEG_QUALITY, quality])
            file.with_suffix('.txt').write_text('0 0.5 0.5 0.2 0.2')
    (tmp_path / 'in' / 'classes.txt').write_text('thing\n')
    make_own_data(tmp_path / 'in', tmp_path / 'out', Options(val_share=0.25))
    train, val = (
        {int(p.stem[1:]) for p in (tmp_path / 'out' / split).iterdir()}
        for split in ('train', 'val')
    )
    assert len(val) == 4 and not train & val
    make_own_data(tmp_path / 'in', tmp_path / 'other', Options(val_share=0.25, seed=1))
    assert {int(p.stem[1:]) for p in (tmp_path / 'other' / 'val').iterdir()} != val
    for file in [*(tmp_path / 'in').glob('[b-c]*.jpg')]:  # one photograph alone
        file.unlink()
        file.with_suffix('.txt').unlink()
    for file in (tmp_path / 'in').glob('a*.jpg'):
        shutil.copyfile(tmp_path / 'in' / 'a00.jpg', file) if 'a00' not in str(
            file
        ) else None
    with pytest.raises(UserError, match='16 images fall into 1 groups'):
        make_own_data(tmp_path / 'in', tmp_path / 'alike')
    make_own_data(tmp_path / 'in', tmp_path / 'alike', Options(alike=True))
    assert len([*(tmp_path / 'alike' / 'val').iterdir()]) == 3


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_turns_image_and_boxes_alike(tmp_path, orientation):
    """Of an image that is stored turned, the stated size tells what boxes mean."""
    stored = np.zeros((40, 60, 3), np.uint8)
    box = [5, 10, 12, 8]
    stored[10:18, 5:17] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / 'a.png', exif=exif)
    seen = cv2.imread(str(tmp_path / 'a.png'))
    x, y, w, h = turned_box(box, orientation, (60, 40))
    assert (seen[y : y + h, x : x + w] == 255).all() and (seen > 0).sum() == 3 * 96


def test_turned_boxes_and_polygons_become_upright(tmp_path, drawn):
    source = written(drawn, tmp_path / 'yolo', 'yolo')
    # A square on its corner, of half the sides' length; and a triangle.
    label(source, '0 0.5 0.25 0.75 0.5 0.5 0.75 0.25 0.5\n1 0.1 0.1 0.3 0.1 0.1 0.4')
    result = make_own_data(source, tmp_path / 'a')
    found = boxes_in(tmp_path / 'a')['train', 'train_0.jpg']
    assert np.allclose(
        [box for _, box in found], [[24, 16, 48, 32], [9.6, 6.4, 19.2, 19.2]]
    )
    assert any(line.startswith('  2 polygons or turned') for line in result.lines)
    source = written(drawn, tmp_path / 'studio', 'label_studio')
    labelled(source, x=50, y=50, width=25, height=25, rotation=90)
    make_own_data(source, tmp_path / 'b')
    found = boxes_in(tmp_path / 'b')['train', 'train_0.jpg']
    # 24 x 16 pixels, turned by a quarter about (48, 32): to the left and down.
    assert np.allclose(found[0][1], [32, 32, 16, 24], atol=0.01)


def test_look_alikes_in_two_splits_are_told(tmp_path):
    """The same photograph, saved anew, in train and in val of the source."""
    shots = drawn_shots(tmp_path / 'drawn')
    poor = [cv2.IMWRITE_JPEG_QUALITY, 60]
    cv2.imwrite(str(shots[-1].file), cv2.imread(str(shots[0].file)), poor)
    source = written(shots, tmp_path / 'source', 'yolo')
    lines = '\n'.join(make_own_data(source, tmp_path / 'a').lines)
    assert 'LEAK: 1 images of val are nearly the same as images of train (' in lines
    assert 'train_0.jpg = val_1.jpg' in lines and '--resplit' in lines
    options = Options(resplit=True, val_share=0.4)
    assert 'LEAK' not in '\n'.join(make_own_data(source, tmp_path / 'b', options).lines)


def test_a_stopped_call_leaves_nothing(tmp_path, drawn):
    source = written(drawn, tmp_path / 'source', 'voc')
    left = tmp_path / '.out.unfinished-abcdefgh' / 'out'  # of a killed one
    left.mkdir(parents=True)
    # Of somebody else, the latter where OUT is '*'.
    for name in ('.out.original', '.other.unfinished-abcdefgh'):
        (tmp_path / name).mkdir()

    def stop(what, count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_own_data(source, tmp_path / 'out', progress=stop)
    with pytest.raises(KeyboardInterrupt):
        make_own_data(source, tmp_path / '*', progress=stop)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        '.other.unfinished-abcdefgh',
        '.out.original',
        'source',
    ]


def image_missing_in_val(source, images, labels):
    """Pictures train_1, train_2, val_1, val_2 and 0, the latter in train alone.

    Args:
        images, labels: Folders of a split, with {} for its name.
    """
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for folder in (images, labels):
            (source / folder.format(split)).mkdir(parents=True, exist_ok=True)
        names = [f'{split}_1', f'{split}_2', *['0'] * (split == 'train')]
        for name in names:
            pixels = rng.integers(0, 255, (40, 50), np.uint8)
            Image.fromarray(pixels).save(source / images.format(split) / f'{name}.png')
    return {'train': ['train_1', 'train_2'], 'val': ['val_1', 'val_2', '0']}


def one_box_each(source, split, names):
    """COCO annotations of pictures of `image_missing_in_val`."""
    ids = dict(enumerate(names, 1))
    content = dict(
        images=[
            dict(id=i, file_name=name, width=50, height=40) for i, name in ids.items()
        ],
        annotations=[
            dict(id=i, image_id=i, category_id=1, bbox=[5, 5, 9, 9], area=81)
            for i in ids
        ],
        categories=[dict(id=1, name='a')],
    )
    (source / f'instances_{split}.json').write_text(json.dumps(content))


@pytest.mark.parametrize('kind', ['yolo', 'roboflow', 'coco'])
def test_an_image_of_another_split_is_not_taken(tmp_path, kind):
    """val's annotations of 0.png are not put on train's."""
    source = tmp_path / 'source'
    folders = 'images/{}', 'labels/{}'
    if kind == 'roboflow':
        folders = '{}/images', '{}/labels'
    annotated = image_missing_in_val(source, *folders)
    if kind != 'coco':
        (source / 'data.yaml').write_text('names: [a]\n')
    for split, names in annotated.items():
        if kind != 'coco':
            for name in names:
                file = source / folders[1].format(split) / f'{name}.txt'
                file.write_text('0 .5 .5 .2 .2')
            continue
        one_box_each(source, split, [f'{name}.png' for name in names])
    with pytest.raises(UserError, match='missing.*skip-broken'):
        make_own_data(source, tmp_path / 'out', Options(alike=True))
    make_own_data(source, tmp_path / 'out', Options(alike=True, skip_broken=True))
    boxes = boxes_in(tmp_path / 'out')
    assert not boxes.get(('train', '0.png'))
    assert ('val', '0.png') not in boxes


def test_a_name_may_lead_to_the_folder_of_another_split(tmp_path):
    """A train set that has some of val2017's images and says so."""
    source = tmp_path / 'source'
    image_missing_in_val(source, '{}2017', 'labels/{}')
    for split, names in (
        ('train', ['train2017/0.png', 'train_1.png', 'val2017/val_1.png']),
        ('val', ['val_2.png']),
    ):
        one_box_each(source, split, names)
    make_own_data(source, tmp_path / 'out', Options(alike=True))
    assert sorted(split for split, _ in boxes_in(tmp_path / 'out')) == [
        *['train'] * 3,
        'val',
    ]


@pytest.mark.parametrize('kind', ['voc', 'labelme'])
def test_a_name_that_was_not_changed_with_the_file(tmp_path, drawn, kind):
    source = written(drawn, tmp_path / 'source', kind)
    files = sorted(source.rglob('*.xml' if kind == 'voc' else '*.json'))[:2]
    images = [
        next(p for p in source.rglob(f'{file.stem}.*') if p.suffix in ('.png', '.jpg'))
        for file in files
    ]
    text = files[1].read_text()
    assert images[1].name in text
    files[1].write_text(text.replace(images[1].name, images[0].name))
    with pytest.raises(UserError, match=f'{files[1].name} says .*own name is there'):
        make_own_data(source, tmp_path / 'out')
    files[1].write_text(text.replace(images[1].name, ''))
    make_own_data(source, tmp_path / 'out')
    assert len(boxes_in(tmp_path / 'out')) == len(drawn)


def test_a_picture_that_is_cut_short(tmp_path, drawn):
    source = written(drawn, tmp_path / 'source', 'voc')
    image = next(source.rglob('*.jpg'), None) or next(source.rglob('*.png'))
    content = image.read_bytes()
    image.unlink()  # maybe a link to what other tests read
    image.write_bytes(content[:-20])
    with pytest.raises(UserError, match=f'{image.name} is cut short.*--skip-broken'):
        make_own_data(source, tmp_path / 'out')
    make_own_data(source, tmp_path / 'out', Options(skip_broken=True))
    assert len(boxes_in(tmp_path / 'out')) == len(drawn) - 1


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(size=(0, 0)), 'size is 0 x 0'),
        (dict(size=(64, -5)), 'size is 64 x -5'),
        (dict(epochs=0), 'epochs is 0'),
        (dict(epochs=-3), 'epochs is -3'),
        (dict(val_share=1.0), 'val_share is 1.0'),
    ],
)
def test_options_without_sense(tmp_path, drawn, options, words):
    source = written(drawn, tmp_path / 'source', 'voc')
    with pytest.raises(UserError, match=words):
        make_own_data(source, tmp_path / 'out', Options(**options))
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('name', ["bob's", 'a\\b', 'a\nb'])
def test_a_folder_in_which_no_config_can_be_read(tmp_path, drawn, name):
    source = written(drawn, tmp_path / 'source', 'voc')
    with pytest.raises(UserError, match='Choose another folder'):
        make_own_data(source, tmp_path / name)


def test_nearly_all_for_val_leaves_one_to_train(tmp_path, drawn):
    source = written(drawn, tmp_path / 'source', 'voc')
    options = Options(val_share=0.99, resplit=True, alike=True)
    make_own_data(source, tmp_path / 'out', options)
    splits = [split for split, _ in boxes_in(tmp_path / 'out')]
    assert splits.count('train') == 1


def test_the_printed_command_can_be_pasted(tmp_path, drawn, monkeypatch, capsys):
    source = written(drawn, tmp_path / 'source', 'voc')
    out = tmp_path / 'my set'
    monkeypatch.setattr(sys, 'argv', [str(TOOL), str(source), str(out)])
    runpy.run_path(str(TOOL), run_name='__main__')
    command = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert command == ['python', 'tools/train.py', str(out / 'config.py')]
    header = (out / 'config.py').read_text().splitlines()[1]
    assert shlex.split(header.lstrip('# ')) == command


def test_out_in_the_folder_of_the_images(tmp_path, drawn):
    source = written(drawn, tmp_path / 'source', 'voc')
    images = (source / 'JPEGImages').rename(tmp_path / 'images')
    options = Options(images=images)
    with pytest.raises(UserError, match='lies in the folder of the images'):
        make_own_data(source, images / 'out', options)
    make_own_data(source, tmp_path / 'out', options)


def test_a_link_to_nothing_is_a_missing_image(tmp_path, drawn):
    source = written(drawn, tmp_path / 'source', 'voc')
    (source / 'JPEGImages' / 'spare.jpg').symlink_to(tmp_path / 'nothing')
    make_own_data(source, tmp_path / 'spare')  # no annotation names it
    image = source / 'JPEGImages' / 'train_0.jpg'
    image.unlink()
    image.symlink_to(tmp_path / 'nothing')
    with pytest.raises(UserError, match='missing.*--skip-broken'):
        make_own_data(source, tmp_path / 'out')
    make_own_data(source, tmp_path / 'out', Options(skip_broken=True))


def test_key_points_without_shape(tmp_path, drawn):
    source = written(drawn, tmp_path / 'source', 'yolo')
    with open(source / 'data.yaml', 'a') as file:
        file.write('kpt_shape: 17\n')
    with pytest.raises(UserError, match='kpt_shape in .* is 17, expected'):
        make_own_data(source, tmp_path / 'out')


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda task: task.update(annotations=None), None),
        (lambda task: task['annotations'][0].update(result=None), None),
        (lambda task: task['annotations'][0]['result'][0].update(value=None), None),
        (lambda task: task.update(annotations=[1]), 'no dicts'),
    ],
)
def test_nothing_where_label_studio_has_something(tmp_path, drawn, change, words):
    source = written(drawn, tmp_path / 'source', 'label_studio')
    edit_json(source / 'train.json', lambda tasks: change(tasks[0]))
    if words:
        with pytest.raises(UserError, match=words):
            make_own_data(source, tmp_path / 'out')
    else:
        make_own_data(source, tmp_path / 'out')


def test_boxes_beyond_the_image_are_cut_and_told(tmp_path, drawn):
    """As those of COCO are; what lies wholly outside is left out."""
    source = written(drawn, tmp_path / 'source', 'voc')
    file = sorted(source.rglob('*.xml'))[0]
    text = file.read_text()
    name = re.search(r'<object><name>(\w+)', text)[1]
    size = [int(re.search(rf'<{tag}>(\d+)', text)[1]) for tag in ('width', 'height')]
    object_ = (
        f'<object><name>{name}</name><bndbox><xmin>{{}}</xmin><ymin>{{}}</ymin>'
        '<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>'
    )
    beyond = object_.format(-9, -9, 20, 21)
    outside = object_.format(*(v + 10 for v in size), *(v + 30 for v in size))
    file.write_text(text.replace('</annotation>', f'{beyond}{outside}</annotation>'))
    told = ' '.join(make_own_data(source, tmp_path / 'out').lines)
    assert '1 boxes were cut off at the border of their image' in told
    boxes = [box for here in boxes_in(tmp_path / 'out').values() for box in here]
    assert len(boxes) == sum(len(shot.objects) for shot in drawn) + 1
    assert [0, 0, 20, 21] in [[*box] for _, box in boxes]


def test_a_split_whose_boxes_are_all_points(tmp_path, drawn):
    source = written(drawn, tmp_path / 'source', 'yolo')
    for file in source.rglob('valid/labels/*.txt'):
        file.write_text('0 .5 .5 0 0')
    with pytest.raises(UserError, match='the split val has .* no object'):
        make_own_data(source, tmp_path / 'out')


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(weights='pretraind'), "weights is 'pretraind', expected random"),
        (dict(images=Path('nowhere')), 'the folder of the images nowhere is not'),
    ],
)
def test_names_that_lead_nowhere(tmp_path, drawn, options, words):
    source = written(drawn, tmp_path / 'source', 'voc')
    with pytest.raises(UserError, match=words):
        make_own_data(source, tmp_path / 'out', Options(**options))
    assert not (tmp_path / 'out').exists()


def test_out_that_is_no_name_or_a_link(tmp_path, drawn, monkeypatch):
    source = written(drawn, tmp_path / 'source', 'voc')
    (tmp_path / 'empty').mkdir()
    monkeypatch.chdir(tmp_path / 'empty')
    for out in ('.', '..', '../empty/..'):
        with pytest.raises(UserError, match='no name of its own|holds something'):
            make_own_data(source, out)
    (tmp_path / 'link').symlink_to(tmp_path / 'empty')
    (tmp_path / 'dangling').symlink_to(tmp_path / 'nothing')
    for name in ('link', 'dangling'):
        with pytest.raises(UserError, match='is a link. Give what it leads to'):
            make_own_data(source, tmp_path / name)
    make_own_data(source, tmp_path / 'empty')
    assert not make_own_data(source, tmp_path / 'link').made


@pytest.mark.parametrize('kind', ['coco', 'labelme'])
def test_spaces_beside_a_class(tmp_path, drawn, kind):
    """'cat ' is cat, whatever the format."""
    source = written(drawn, tmp_path / 'source', kind)
    for file in source.rglob('*.json'):
        file.write_text(file.read_text().replace('"cat"', '" cat "'))
    make_own_data(source, tmp_path / 'out')
    found = boxes_in(tmp_path / 'out').values()
    assert {label for boxes in found for label, _ in boxes} == {'cat', 'dog'}
