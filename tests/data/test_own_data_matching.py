"""Boxes go to their own image or to none; splits are those of the source."""

import json
import shutil
import zipfile

import cv2
import mmcv
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from test_own_data_formats import boxes_in

import tresnet_det  # noqa: F401
from tresnet_det import UserError
from tresnet_det.data.own_data import Options, make_own_data
from tresnet_det.data.own_data.sizes import seen_size

KINDS = ['yolo', 'coco', 'cvat', 'voc', 'labelme']
SIZE = (50, 40)


def draw(file, seed=None, **save):
    seed = sum(map(ord, str(file))) if seed is None else seed
    pixels = np.random.default_rng(seed).integers(0, 255, SIZE[::-1], np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file, **save)


def annotate(root, kind, names, images='images'):
    """One box for each name, which is relative to the folder of the images."""
    root.mkdir(exist_ok=True)
    if kind == 'coco':
        ids = dict(enumerate(names, 1))
        content = dict(
            images=[
                dict(id=i, file_name=name, width=50, height=40)
                for i, name in ids.items()
            ],
            annotations=[
                dict(id=i, image_id=i, category_id=1, bbox=[i, 5, 9, 9], area=81)
                for i in ids
            ],
            categories=[dict(id=1, name='a')],
        )
        (root / 'annotations.json').write_text(json.dumps(content))
    if kind == 'cvat':
        box = '<box label="a" xtl="5" ytl="5" xbr="14" ybr="14"/>'
        entries = [
            f'<image id="{i}" name="{name}" width="50" height="40">{box}</image>'
            for i, name in enumerate(names)
        ]
        text = f'<annotations>{"".join(entries)}</annotations>'
        (root / 'annotations.xml').write_text(text)
    for name in names:
        if kind == 'yolo':
            (root / 'data.yaml').write_text('names: [a]')
            file = (root / 'labels' / name).with_suffix('.txt')
            text = '0 .5 .5 .2 .2'
        elif kind == 'voc':
            file = root / 'Annotations' / f'{name.rpartition(".")[0]}.xml'
            corners = ''.join(
                f'<{k}>{v}</{k}>'
                for k, v in dict(xmin=5, ymin=5, xmax=14, ymax=14).items()
            )
            text = (
                f'<annotation><filename>{file.stem}.png</filename><object>'
                f'<name>a</name><bndbox>{corners}</bndbox></object></annotation>'
            )
        elif kind == 'labelme':
            file = (root / images / name).with_suffix('.json')
            shape = dict(label='a', points=[[5, 5], [14, 14]], shape_type='rectangle')
            text = json.dumps(
                dict(shapes=[shape], imagePath=f'{file.stem}.png', version='5')
            )
        else:
            break
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def made(source, out, **options):
    result = make_own_data(source, out, Options(alike=True, **options))
    return '\n'.join(result.lines)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('others', [0, 3])
def test_a_lost_image_is_not_taken_from_another_folder(tmp_path, kind, others):
    """cam1/1.png is gone, cam0/1.png is there, with boxes of its own or without."""
    source = tmp_path / 'source'
    names = [f'cam{c}/{i}.png' for c in (0, 1) for i in range(others + 2)]
    for name in names:
        draw(source / 'images' / name)
    named = [name for name in names if name != 'cam0/1.png']
    annotate(source, kind, named if others else names)
    (source / 'images' / 'cam1' / '1.png').unlink()
    with pytest.raises(UserError, match='1 images are missing'):
        made(source, tmp_path / 'out')
    made(source, tmp_path / 'out', skip_broken=True)
    boxes = boxes_in(tmp_path / 'out')
    whole = len(named if others else names) - 1
    assert sum(map(len, boxes.values())) == whole
    assert max(map(len, boxes.values())) == 1


@pytest.mark.parametrize('kind', KINDS)
def test_folders_of_other_names_are_no_other_images(tmp_path, kind):
    """The same folders below others, or names that have none of them."""
    names = [f'cam{c}/{c}{i}.png' for c in (0, 1) for i in range(3)]
    for folder in ('imgs', 'data/photos'):
        source = tmp_path / folder.replace('/', '_')
        for name in names:
            draw(source / folder / name)
        annotate(source, kind, names, images=folder)
        made(source, tmp_path / f'{source.name}_out')
        assert len(boxes_in(tmp_path / f'{source.name}_out')) == 6
    source = tmp_path / 'flat'
    for name in names:
        draw(source / 'all' / name.split('/')[1])
    annotate(source, kind, names, images='json')
    made(source, tmp_path / 'flat_out')
    assert len(boxes_in(tmp_path / 'flat_out')) == 6


def test_two_names_for_one_image(tmp_path):
    source = tmp_path / 'source'
    for name in ('1.png', '2.png', '3.png'):
        draw(source / name)
    annotate(source, 'coco', ['1.png', '2.png', '2.jpg', '3.png'])
    with pytest.raises(UserError, match='1 images are missing.*2.jpg of annotations'):
        made(source, tmp_path / 'out')
    tasks = [
        dict(
            data=dict(image=f'/data/upload/1/{upload}-{number}.png'),
            annotations=[dict(result=[])],
        )
        for upload, number in (('00000000', 1), ('11111111', 1), ('22222222', 2))
    ]
    (source / 'annotations.json').write_text(json.dumps(tasks))
    with pytest.raises(UserError, match='both lead to 1.png.*If they are two images'):
        made(source, tmp_path / 'out')


def divided(root, kind, train, val, lists):
    """Eight images of which lists name some."""
    names = [f'{i}.png' for i in range(8)]
    for name in names:
        draw(root / 'images' / name)
    annotate(root, kind, names)
    for word, numbers in (('train', train), ('val', val)):
        file = root / lists.format(word)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(''.join(f'{n}\n' for n in numbers))
    return root


@pytest.mark.parametrize(
    ('kind', 'lists'), [('yolo', '{}.txt'), ('voc', 'ImageSets/Main/{}.txt')]
)
def test_an_image_in_two_lists_is_asked(tmp_path, kind, lists):
    source = divided(tmp_path / 'source', kind, range(6), range(3, 8), lists)
    with pytest.raises(UserError, match='3 images are in two splits.*--resplit'):
        made(source, tmp_path / 'out')
    for copy in (True, False):
        out = tmp_path / f'out{copy}'
        made(source, out, resplit=True, copy=copy, seed=1)
        train, val = ({p.name for p in (out / s).iterdir()} for s in ('train', 'val'))
        assert len(train) + len(val) == 8 == len(train | val)
        assert {len(boxes) for boxes in boxes_in(out).values()} == {1}


def test_one_image_in_two_coco_files_is_drawn_once(tmp_path):
    source = tmp_path / 'source'
    for number in range(6):
        draw(source / 'images' / f'{number}.png')
    for word, numbers in (('train', range(5)), ('val', range(3, 6))):
        annotate(source, 'coco', [f'{n}.png' for n in numbers])
        (source / 'annotations.json').rename(source / f'{word}.json')
    with pytest.raises(UserError, match='2 images are in two splits'):
        made(source, tmp_path / 'out')
    made(source, tmp_path / 'out', resplit=True)
    assert len(boxes_in(tmp_path / 'out')) == 6


def test_lists_of_voc(tmp_path):
    """Names with a space, a dot, a folder, a flag; Main before the other lists."""
    names = ['my photo 1', 'cam.1.v', 'cam/000', 'other/000', 'x', 'y']
    source = tmp_path / 'source'
    for name in names:
        draw(source / 'JPEGImages' / f'{name}.png')
    annotate(source, 'voc', [f'{name}.png' for name in names])
    for path, lines in {
        'Main/train.txt': ['my photo 1', 'cam/000', 'x  1'],
        'Main/val.txt': ['cam.1.v', 'other/000', 'y -1'],
        'Segmentation/train.txt': ['y', 'other/000'],
    }.items():
        file = source / 'ImageSets' / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('\n'.join(lines))
    made(source, tmp_path / 'out')
    assert {*boxes_in(tmp_path / 'out')} == {
        *(('train', f'{n}.png') for n in ('my photo 1', '000', 'x')),
        *(('val', f'{n}.png') for n in ('cam.1.v', '000', 'y')),
    }
    for split, folder in (('train', 'cam'), ('val', 'other')):
        image = source / 'JPEGImages' / folder / '000.png'
        assert (tmp_path / 'out' / split / '000.png').samefile(image)


def test_trainval_and_test_of_voc(tmp_path):
    source = divided(tmp_path / 'source', 'voc', range(5), range(5, 8), 'a/{}.txt')
    main = source / 'ImageSets' / 'Main'
    main.mkdir(parents=True)
    (source / 'a' / 'train.txt').rename(main / 'trainval.txt')
    (source / 'a' / 'val.txt').rename(main / 'test.txt')
    assert "the source's train, and its test as val" in made(source, tmp_path / 'out')
    assert len([*(tmp_path / 'out' / 'val').iterdir()]) == 3


def test_splits_by_the_images_folders_and_by_darknet(tmp_path):
    source = tmp_path / 'source'
    names = ['train/0.png', 'train/1.png', 'val/2.png']
    for name in names:
        draw(source / name)
    annotate(source, 'coco', names)
    assert 'the splits of the source' in made(source, tmp_path / 'out')
    assert len(boxes_in(tmp_path / 'out')) == 3
    source = divided(tmp_path / 'dark', 'yolo', range(5), range(5, 8), 'list_{}_.txt')
    (source / 'list_train_.txt').rename(source / 'first.txt')
    (source / 'list_val_.txt').rename(source / 'second.txt')
    (source / 'obj.data').write_text('classes = 1\ntrain = first.txt\nvalid=second.txt')
    assert 'the splits of the source' in made(source, tmp_path / 'dark_out')
    assert len([*(tmp_path / 'dark_out' / 'val').iterdir()]) == 3


@pytest.mark.parametrize('top', ['VOC2012_train_val', 'my-test-set', 'train_data'])
def test_a_split_in_the_name_of_the_whole_is_none(tmp_path, top):
    source = tmp_path / 'source'
    for number in range(4):
        draw(source / top / 'images' / f'{number}.png')
    for word, numbers in (('train', (0, 1)), ('val', (2, 3))):
        annotate(source / top, 'coco', [f'{n}.png' for n in numbers])
        (source / top / 'annotations.json').rename(source / top / f'{word}.json')
    assert 'the splits of the source' in made(source, tmp_path / 'out')
    assert sorted(s for s, _ in boxes_in(tmp_path / 'out')) == [
        *['train'] * 2,
        *['val'] * 2,
    ]


def test_images_outside_the_folders_of_data_yaml(tmp_path):
    """Pictures that training has drawn, masks: no images without objects."""
    source = tmp_path / 'source'
    names = ['train/0.png', 'train/1.png', 'val/2.png']
    for name in (*names, '../runs/train/results.png', '../masks/0_m.png'):
        draw(source / 'images' / name)
    annotate(source, 'yolo', names)
    (source / 'data.yaml').write_text(
        'names: [a]\ntrain: images/train\nval: images/val'
    )
    told = made(source, tmp_path / 'out')
    assert len(boxes_in(tmp_path / 'out')) == 3
    assert '2 images are in no split of data.yaml or a list and were left out' in told


@pytest.mark.parametrize('ending', ['jpg', 'png', 'webp', 'tif'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_size_is_what_mmdetection_reads(tmp_path, ending, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f'a.{ending}'
    draw(file, exif=exif)
    height, width = mmcv.imfrombytes(file.read_bytes()).shape[:2]
    assert seen_size(file) == (width, height)


def test_a_webp_with_the_mark_of_jpeg_is_not_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = tmp_path / 'a.webp'
    # Pillow takes the first mark off.
    draw(file, exif=b'Exif\0\0' * 2 + exif.tobytes().removeprefix(b'Exif\0\0'))
    assert b'EXIF' in file.read_bytes() and b'Exif\0\0' in file.read_bytes()
    height, width = mmcv.imfrombytes(file.read_bytes()).shape[:2]
    assert seen_size(file) == (width, height) == SIZE


@pytest.mark.parametrize('ending', ['jpg', 'webp'])
def test_an_orientation_in_xmp_alone_turns_nothing(tmp_path, ending):
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/'
        b'1999/02/22-rdf-syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/'
        b'tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    file = tmp_path / f'a.{ending}'
    draw(file, xmp=xmp)
    height, width = cv2.imread(str(file)).shape[:2]
    assert seen_size(file) == (width, height) == SIZE


def test_boxes_on_the_stored_image_whatever_its_orientation(tmp_path):
    """Sizes tell of quarter turns alone; the others are of the same tool."""
    source = tmp_path / 'source'
    content = dict(images=[], annotations=[], categories=[dict(id=1, name='a')])
    for turned in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turned
        pixels = np.zeros((40, 50), np.uint8)
        pixels[5:13, 10:30] = 200 + turned
        source.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(source / f'{turned}.png', exif=exif)
        content['images'].append(
            dict(id=turned, file_name=f'{turned}.png', width=50, height=40)
        )
        content['annotations'].append(
            dict(id=turned, image_id=turned, category_id=1, bbox=[10, 5, 20, 8])
        )
    (source / 'a.json').write_text(json.dumps(content))
    told = made(source, tmp_path / 'out', boxes_on='stated')
    assert '3 boxes are turned as EXIF says, as in the other images' in told
    for (split, name), ((_, box),) in boxes_in(tmp_path / 'out').items():
        image = mmcv.imread(str(tmp_path / 'out' / split / name), 'grayscale')
        x, y, w, h = (round(value) for value in box)
        inside = image[y : y + h, x : x + w]
        assert inside.min() > 100 > np.delete(image, np.s_[x : x + w], 1).max(), name


def test_classes_keep_their_lines(tmp_path):
    source = tmp_path / 'source'
    draw(source / 'images' / '1.png')
    draw(source / 'images' / '2.png')
    annotate(source, 'yolo', ['1.png', '2.png'])
    (source / 'data.yaml').unlink()
    (source / 'classes.txt').write_text('cat\n\ndog\n')
    with pytest.raises(UserError, match='classes.txt, line 2 is empty'):
        made(source, tmp_path / 'out')
    (source / 'classes.txt').write_text('cat\r\ndog\r\n')
    (source / 'obj.names').write_text('cat\ndog\n\n')  # the same
    made(source, tmp_path / 'out')


def test_an_odd_number_of_coordinates(tmp_path):
    source = tmp_path / 'source'
    draw(source / 'images' / '1.png')
    draw(source / 'images' / '2.png')
    annotate(source, 'yolo', ['1.png', '2.png'])
    label = source / 'labels' / '1.txt'
    label.write_text('0 .1 .1 .5 .1 .5 .5 .1')
    with pytest.raises(UserError, match='line 1: 7 numbers after the class'):
        made(source, tmp_path / 'out')


def test_counts_are_those_of_the_files(tmp_path):
    source = tmp_path / 'source'
    for name in ('1.png', '2.png', 'readme_3.png'):
        draw(source / 'images' / name)
    annotate(source, 'yolo', ['1.png', '2.png', 'readme_3.png'])
    for file in (source / 'labels').iterdir():
        file.write_text('0 .5 .5 .2 .2\n0 .5 .5 .2 .2\n0 .5 .5 0 .2')
    told = made(source, tmp_path / 'out')
    assert 'train: 2 images, 2 objects' in told and '  a: 2, 1' in told


def test_a_turned_ellipse(tmp_path):
    source = tmp_path / 'source'
    draw(source / '1.png')
    draw(source / '2.png')
    value = dict(x=50, y=50, radiusX=20, radiusY=10, rotation=90, ellipselabels=['a'])
    result = dict(type='ellipselabels', original_width=50, original_height=40)
    tasks = [
        dict(
            data=dict(image=f'{number}.png'),
            annotations=[dict(result=[dict(result, value=value)])],
        )
        for number in (1, 2)
    ]
    (source / 'a.json').write_text(json.dumps(tasks))
    made(source, tmp_path / 'out')
    # Half axes of 10 and 4 pixels, upright afterwards.
    for ((_, box),) in boxes_in(tmp_path / 'out').values():
        assert np.allclose(box, [21, 10, 8, 20], atol=0.01)


def test_names_of_classes_that_mmengine_would_replace(tmp_path):
    source = tmp_path / 'source'
    names = ['{{ fileDirname }}', '{{$HOME:x}}', '{{_base_.model}}', "it's {{{"]
    draw(source / '1.png')
    draw(source / '2.png')
    annotate(source, 'yolo', ['1.png', '2.png'])
    (source / 'data.yaml').write_text(json.dumps(dict(names=names)))
    made(source, tmp_path / 'out')
    assert Config.fromfile(tmp_path / 'out' / 'config.py').classes == tuple(names)


def test_images_that_are_not_read(tmp_path):
    source = tmp_path / 'source'
    names = ['1.png', '2.png', '3.gif']
    for name in (*names, '4.jpg'):
        draw(source / name)
    (source / '4.jpg').rename(source / '4.jfif')
    annotate(source, 'coco', [*names, '4.jfif'])
    with pytest.raises(UserError, match='3.gif of.*end in .gif.*save them as PNG'):
        made(source, tmp_path / 'out')
    made(source, tmp_path / 'out', skip_broken=True)
    assert len(boxes_in(tmp_path / 'out')) == 3
    Image.fromarray(np.zeros((40, 50), np.float32)).save(source / '5.tif')
    annotate(source, 'coco', ['1.png', '2.png', '5.tif'])
    with pytest.raises(UserError, match='5.tif .*32-bit'):
        made(source, tmp_path / 'other')


def test_createml_is_not_label_studio(tmp_path):
    draw(tmp_path / 'source' / '1.png')
    box = dict(label='a', coordinates=dict(x=9, y=9, width=5, height=5))
    entry = dict(image='1.png', annotations=[box])
    (tmp_path / 'source' / 'a.json').write_text(json.dumps([entry]))
    with pytest.raises(UserError, match='no annotations that are known'):
        made(tmp_path / 'source', tmp_path / 'out')


@pytest.mark.parametrize(
    ('members', 'words'),
    [
        (['a/1.txt', 'a/1.txt'], 'stand there twice'),
        (['a', 'a/1.txt'], 'are files and folders in one'),
        (['x' * 300 + '.txt'], 'longer than 255 bytes'),
    ],
)
@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_odd_members_of_an_archive(tmp_path, members, words):
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        for name in members:
            archive.writestr(name, 'x')
    with pytest.raises(UserError, match=f'a.zip has .*{words}'):
        made(tmp_path / 'a.zip', tmp_path / 'out')


def test_an_archive_with_backslashes(tmp_path):
    source = tmp_path / 'source'
    for name in ('1.png', '2.png'):
        draw(source / 'images' / name)
    annotate(source, 'yolo', ['1.png', '2.png'])
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        for file in source.rglob('*.*'):
            info = zipfile.ZipInfo('x')
            info.filename = str(file.relative_to(source)).replace('/', '\\')
            archive.writestr(info, file.read_bytes())
    made(tmp_path / 'a.zip', tmp_path / 'out')
    assert len(boxes_in(tmp_path / 'out')) == 2
    shutil.rmtree(tmp_path / 'out')
    with zipfile.ZipFile(tmp_path / 'a.zip', 'a') as archive:
        archive.writestr('labels/3.txt', '0 .5 .5 .1 .1')
        archive.writestr('labels/bad.txt', '9 .5 .5 .1 .1')
        archive.writestr('images/bad.png', (source / 'images/1.png').read_bytes())
    with pytest.raises(UserError, match=r'a\.zip/labels/bad\.txt, line 1'):
        made(tmp_path / 'a.zip', tmp_path / 'out')


def archived(source, **more):
    file = source.with_suffix('.zip')
    with zipfile.ZipFile(file, 'w') as archive:
        for path in source.rglob('*.*'):
            archive.write(path, path.relative_to(source))
    return file


@pytest.mark.parametrize('copy', [True, False])
def test_images_beside_an_archive_stay_where_they_are(tmp_path, copy):
    """What --images names is the person's; only what was unpacked is moved."""
    pictures = tmp_path / 'pictures'
    for name in ('1.png', '2.png', '3.png'):
        draw(pictures / name)
    for word, names in (('train', ['1.png', '2.png']), ('val', ['3.png'])):
        annotate(tmp_path / 'source', 'coco', names)
        file = tmp_path / 'source' / 'annotations.json'
        file.rename(file.with_name(f'{word}.json'))
    archive = archived(tmp_path / 'source')
    made(archive, tmp_path / 'out', images=pictures, copy=copy)
    assert len(boxes_in(tmp_path / 'out')) == len([*pictures.iterdir()]) == 3
    val = tmp_path / 'source' / 'val.json'
    val.write_text(json.dumps(dict(json.loads(val.read_text()), annotations=[])))
    with pytest.raises(UserError, match='no object'):
        made(archived(tmp_path / 'source'), tmp_path / 'other', images=pictures)
    assert len([*pictures.iterdir()]) == 3


@pytest.mark.parametrize('kind', ['yolo', 'coco', 'cvat'])
def test_previews_of_another_ending_get_no_boxes(tmp_path, kind):
    source = tmp_path / 'source'
    for number in range(4):
        draw(source / 'images' / f'{number}.png')
        draw(source / 'preview' / f'{number}.jpg')
    names = [f'{number}.jpg' for number in range(4)]  # before images were converted
    if kind != 'yolo':
        names = [f'images/{name}' for name in names]
    annotate(source, kind, names)
    made(source, tmp_path / 'out')
    boxed = {name for (_, name), boxes in boxes_in(tmp_path / 'out').items() if boxes}
    assert boxed == {f'{number}.png' for number in range(4)}


def test_two_images_of_one_label(tmp_path):
    source = tmp_path / 'source'
    for name in ('5.jpg', '5.png', '6.png'):
        draw(source / 'images' / name)
    annotate(source, 'yolo', ['5.png', '6.png'])
    with pytest.raises(UserError, match='2 files fit: images/5.jpg, images/5.png'):
        made(source, tmp_path / 'out')


@pytest.mark.parametrize(
    ('names', 'lost', 'there'),
    [
        (['images/1.png', 'images/2.png', 'images/3.png'], 1, 'masks/1.png'),
        (['images/1.png', 'images/2.png', 'images/3.png'], 1, 'depth/1.jpg'),
        (['cam/1.png', 'cam/2.png', 'cam/night/4.png'], 1, 'cam/night/1.png'),
        (['cam/night/1.png', 'cam/night/2.png', 'cam/4.png'], 1, 'cam/1.png'),
    ],
)
def test_what_is_in_another_folder_is_asked(tmp_path, names, lost, there):
    source = tmp_path / 'source'
    for name in (*names[1:], there):
        draw(source / name)
    annotate(source, 'coco', names)
    words = rf'1 images are missing.*{names[0]} of .*\({there}\?\).*--any-folder'
    with pytest.raises(UserError, match=words):
        made(source, tmp_path / 'out')
    made(source, tmp_path / 'left', skip_broken=True)
    assert len(boxes_in(tmp_path / 'left')) == 2
    made(source, tmp_path / 'out', any_folder=True)
    assert len(boxes_in(tmp_path / 'out')) == 3


@pytest.mark.parametrize('kind', ['voc', 'labelme'])
def test_two_files_of_one_image(tmp_path, kind):
    source = tmp_path / 'source'
    names = ['1.png', '2.png', '3.png']
    for name in names:
        draw(source / 'images' / name)
    annotate(source, kind, names)
    file = next(p for p in source.rglob('1.*') if p.suffix in ('.xml', '.json'))
    (source / 'old').mkdir()
    shutil.copy(file, source / 'old')
    with pytest.raises(UserError, match='are both of the image images/1.png'):
        made(source, tmp_path / 'out')


def test_lists_count_more_than_what_a_folder_is_called(tmp_path):
    """Of VOC's classes one is called train."""
    source = tmp_path / 'source'
    names = ['cat/1.png', 'cat/2.png', 'train/3.png', 'train/4.png']
    for name in names:
        draw(source / 'JPEGImages' / name)
    annotate(source, 'voc', names)
    main = source / 'ImageSets' / 'Main'
    main.mkdir(parents=True)
    (main / 'train.txt').write_text('1\n3\n')
    (main / 'val.txt').write_text('2\n4\nnowhere\n')
    told = made(source, tmp_path / 'out')
    assert {*boxes_in(tmp_path / 'out')} == {
        *(('train', f'{n}.png') for n in (1, 3)),
        *(('val', f'{n}.png') for n in (2, 4)),
    }
    assert '1 names in lists have no image here' in told


@pytest.mark.parametrize(
    'above', ['/home/dev/project/images/', r'D:\test_project\pictures' + '\\', '']
)
def test_words_in_foreign_paths_are_no_splits(tmp_path, above):
    source = tmp_path / 'source'
    folder = source / ('images' if above else 'dev_board')
    for number in range(4):
        draw(folder / f'{number}.png')
    draw(source / 'lab' / 'spare.png')
    for word, numbers in (('train', (0, 1)), ('val', (2, 3))):
        annotate(source, 'coco', [f'{above}{n}.png' for n in numbers])
        (source / 'annotations.json').rename(source / f'{word}.json')
    assert 'the splits of the source' in made(source, tmp_path / 'out')
    assert sorted(s for s, _ in boxes_in(tmp_path / 'out')) == [
        *['train'] * 2,
        *['val'] * 2,
    ]


@pytest.mark.parametrize('inside', [True, False])
def test_data_yaml_with_images_elsewhere(tmp_path, inside):
    source = tmp_path / 'source'
    images = (source if inside else tmp_path / 'else') / 'images'
    names = ['a/1.png', 'a/2.png', 'b/3.png']
    for name in names:
        draw(images / name)
    annotate(source, 'yolo', names)
    (source / 'data.yaml').write_text('names: [a]\ntrain: images/a\nval: images/b')
    told = made(source, tmp_path / 'out', images=images)
    assert 'the splits of the source' in told
    assert len(boxes_in(tmp_path / 'out')) == 3


def test_a_folder_anywhere_in_the_path_counts(tmp_path):
    source = tmp_path / 'source'
    names = [f'cam_{c}/{n}.png' for c in 'ab' for n in range(2)]
    for name in names:
        camera, _, last = name.partition('/')
        draw(source / camera / 'images' / last)
    annotate(source, 'coco', names)
    made(source, tmp_path / 'out')
    content = [
        json.loads((tmp_path / 'out' / 'annotations' / f'{s}.json').read_text())
        for s in ('train', 'val')
    ]
    x = {
        image['file_name']: annotation['bbox'][0]
        for each in content
        for image, annotation in zip(each['images'], each['annotations'])
    }
    assert sum(x.values()) == 1 + 2 + 3 + 4 and len(boxes_in(tmp_path / 'out')) >= 3


def test_paths_of_two_machines(tmp_path):
    source = tmp_path / 'source'
    names = [f'/home/anna/images/{n}.png' for n in range(2)]
    names += [rf'D:\Fotos\{n}.png' for n in range(2, 4)]
    for number in range(4):
        draw(source / 'images' / f'{number}.png')
    annotate(source, 'coco', names)
    made(source, tmp_path / 'out')
    assert len(boxes_in(tmp_path / 'out')) == 4


def test_a_date_is_no_mark_of_an_upload(tmp_path):
    source = tmp_path / 'source'
    for name in ('img/001.jpg', 'img/20240102-002.jpg', 'img/20240102-003.jpg'):
        draw(source / name)
    tasks = [
        dict(data=dict(image=f'img/20240102-00{n}.jpg'), annotations=[dict(result=[])])
        for n in (1, 2, 3)
    ]
    (source / 'a.json').write_text(json.dumps(tasks))
    with pytest.raises(UserError, match='1 images are missing.*20240102-001.jpg'):
        made(source, tmp_path / 'out')
