"""tools/check_data.py: all that is wrong, at once; a mended file; a report."""

import html
import json
import re
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from small_runs import CONFIGS, SIZE, box, coco

from tresnet_det.data.checking.images import ImageFacts, orphans
from tresnet_det.data.checking.same_images import same_images
from tresnet_det.data.checking.splits import named_splits

TOOL = Path(__file__).parents[2] / 'tools' / 'check_data.py'


def draw(path, seed, size=SIZE):
    """Coloured clouds: images of different seeds look different."""
    rng = np.random.default_rng(seed)
    clouds = rng.uniform(0, 255, (5, 5, 3)).astype(np.float32)
    path.parent.mkdir(exist_ok=True)
    image = cv2.resize(clouds, (size, size), interpolation=cv2.INTER_LINEAR)
    cv2.imwrite(str(path), image.astype(np.uint8))


def split(root, name, content, seed):
    for place, image in enumerate(content['images']):
        draw(root / name / image['file_name'], seed + place)
    (root / f'{name}.json').write_text(json.dumps(content))
    return [root / f'{name}.json', root / name]


def good(num_images=2):
    images = range(1, num_images + 1)
    boxes = [box(k, 5 * k, 5, 20, 30, category=c) for k in images for c in (1, 2)]
    return coco(boxes, ('a', 'b'), num_images)


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(TOOL), run_name='__main__')
        return stop.value.code, ' '.join(capsys.readouterr().out.split())

    return run


def test_clean(tmp_path, run):
    train = split(tmp_path, 'train', good(), 0)
    val = split(tmp_path, 'val', good(), 10)
    status, text = run(*train, *val)
    assert status == 0 and 'No error, 0 warnings' in text
    assert 'A proposal for training' in text and '--mend would' not in text


def test_all_problems_at_once_and_mended(tmp_path, run):
    """Each of them alone stops training or is lost without a word."""
    content = good(6)
    notes = content['annotations']
    for note in notes[:3]:
        note['bbox'] = [*note['bbox'][:2], *map(str, note['bbox'][2:])]
    notes[3]['id'] = notes[4]['id']
    notes[5]['image_id'] = str(notes[5]['image_id'])
    del notes[6]['area']
    notes += [dict(notes[7], id=50), box(6, 99, 5, 9, 9, id=51)]
    notes += [box(6, 5, 50, 30, 30, id=52), box(6, 5, 5, 2, 30, id=53)]
    content['images'].append(dict(id=7, file_name='7.png', width=SIZE, height=SIZE))
    content['categories'].append(dict(id=3, name='group'))
    train = split(tmp_path, 'train', content, 0)
    train[0].write_bytes(train[0].read_text().encode('utf-8-sig'))
    draw(tmp_path / 'train' / 'forgotten.png', 77)
    before = train[0].read_bytes()
    status, text = run(*train, '--mend', tmp_path / 'out' / 'mended.json')
    assert status == 1 and train[0].read_bytes() == before
    for words in (
        'byte order mark',
        '3 annotations whose bbox is not',
        'numbers are in quotes',
        '1 ids used by several annotations',
        'image_id is a string and the id a number',
        '1 annotations without "area"',
        '1 boxes stand twice',
        '1 boxes are outside their image',
        '2 of 16 boxes leave their image',
        '1 boxes are narrower than 4 pixels',
        '1 of 7 images have no box (7.png)',
        '1 classes have no box at all: group',
        '1 images in',
        'forgotten.png',
        '1 images without a box of the classes (filter_empty_gt)',
        '1 boxes outside their image',
    ):
        assert words in text, words
    mended = tmp_path / 'out' / 'mended.json'
    for words in (
        '3 numbers were in quotes',
        '1 ids had another type',
        '16 annotations were numbered anew',
        '1 boxes stood twice',
        '1 boxes of no width or height or outside',
        '1 boxes were cut off',
        'UTF-8 in place of',
    ):
        assert words in text.partition('written ')[2], words
    again, text = run(mended, tmp_path / 'train', '--mend', tmp_path / 'twice.json')
    assert again == 0 and 'nothing was to mend' in text
    assert run(*train, '--mend', mended)[0] == 1  # there already, the same
    mended.write_text('mine')
    assert 'exists' in run(*train, '--mend', mended)[0]
    assert mended.read_text() == 'mine'


def test_leak_is_an_error(tmp_path, run):
    """The same file, and one saved anew in another size."""
    train = split(tmp_path, 'train', good(3), 0)
    val = split(tmp_path, 'val', good(3), 10)
    (tmp_path / 'val' / '1.png').write_bytes(
        (tmp_path / 'train' / '2.png').read_bytes()
    )
    image = cv2.imread(str(tmp_path / 'train' / '3.png'))
    small = cv2.resize(image, (48, 48), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / 'val' / '2.png'), cv2.resize(small, (SIZE, SIZE)))
    status, text = run(*train, *val)
    assert status == 1
    assert (
        'LEAK: 1 images of val are the same file as images of train (2.png = 1' in text
    )
    assert 'LEAK: 1 images of val are nearly the same as images of train (3' in text


def test_images_of_all_kinds(tmp_path, run):
    content = good(8)
    train = split(tmp_path, 'train', content, 0)
    folder = tmp_path / 'train'
    grey = np.linspace(0, 255, SIZE * SIZE).reshape(SIZE, SIZE)
    Image.fromarray(grey.astype(np.float32)).save(folder / '1.tif')
    Image.fromarray(grey.astype(np.uint16)).save(folder / '2.png')
    Image.fromarray(grey.astype(np.uint8)).convert('RGB').convert('CMYK').save(
        folder / '3.jpg'
    )
    Image.fromarray(grey.astype(np.uint8)).convert('P').save(folder / '4.png')
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.open(folder / '5.png').save(folder / '5.jpg', exif=turned)
    (folder / '6.png').write_bytes(b'')
    (folder / '7.png').unlink()
    draw(folder / '8.png', 8, 32)
    for place, name in ((0, '1.tif'), (2, '3.jpg'), (4, '5.jpg')):
        content['images'][place]['file_name'] = name
    train[0].write_text(json.dumps(content))
    status, text = run(*train)
    assert status == 1
    for words in (
        '1 of 8 images are not in',
        '3 images cannot be used: 1.tif cannot be decoded: it is TIFF with 32-bit',
        '6.png is empty',
        '8.png is 32 x 32 pixels, but the annotations say 64 x 64',
        '1 images are of 16 bits (2.png)',
        '1 images are CMYK',
        '1 images are with a palette (4.png)',
        '1 images are turned or mirrored by their EXIF (5.jpg)',
    ):
        assert words in text, words


def test_config(tmp_path, run):
    """Its own classes, sizes and levels; what its filter drops."""
    content = good()
    content['categories'].reverse()
    split(tmp_path, 'train', content, 0)
    split(tmp_path, 'val', good(), 10)
    (tmp_path / 'config.py').write_text(
        f"_base_ = '{CONFIGS}/demo/fcos_tresnet-m_fpn_demo.py'\n"
        "metainfo = dict(classes=('a', 'b'))\n"
        + ''.join(
            f'{name}_dataloader = dict(dataset=dict(data_root={str(tmp_path)!r}, '
            f"ann_file='{name}.json', metainfo=metainfo, data_prefix=dict("
            f"img='{name}/')))\n"
            for name in ('train', 'val')
        )
        + 'test_dataloader = val_dataloader\n'
    )
    status, text = run(tmp_path / 'config.py', '--report', tmp_path / 'report')
    assert status == 1 and 'the same names in another order' in text
    assert text.count('in another order') == 1  # val is right
    page = html.unescape((tmp_path / 'report' / 'index.html').read_text())
    assert 'Box sizes at 160 x 160 (of the config)' in page


def test_report_is_one_page_without_network(tmp_path, run):
    content = good()
    content['categories'][1]['name'] = '<script>alert(1)</script>'
    train = split(tmp_path, 'train', content, 0)
    (tmp_path / 'report').mkdir()
    status, _ = run(*train, '--report', tmp_path / 'report')
    page = (tmp_path / 'report' / 'index.html').read_text()
    assert status == 0 and '<script' not in page and 'alert(1)' in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count('data:image/jpeg;base64') >= 8
    assert page.count('data:image/svg+xml;base64') == 3
    assert run(*train, '--report', tmp_path / 'report')[0] == 0  # in its place
    (tmp_path / 'report' / 'mine.txt').touch()
    assert 'other files (mine.txt)' in run(*train, '--report', tmp_path / 'report')[0]


def test_splits_that_disagree(tmp_path, run):
    train = split(tmp_path, 'train', good(), 0)
    other = coco([box(1, 5, 5, 9, 9)], ('b', 'c'))
    val = split(tmp_path, 'val', other, 10)
    status, text = run(*train, *val, '--no-images')
    assert status == 1 and "the categories differ: ['a', 'b'] and ['b', 'c']" in text
    assert 'val: 1 classes have no box here: a' in text
    assert 'train: 1 classes have no box here' not in text  # of c none at all
    assert 'not looked at' in text


def test_two_categories_of_one_name_are_asked_for(tmp_path, run):
    content = coco([box(1, 5, 5, 9, 9)], ('person', 'person'))
    train = split(tmp_path, 'train', content, 0)
    status, text = run(*train, '--mend', tmp_path / 'a.json')
    assert status == 1 and 'A person must say' in text
    run(*train, '--mend', tmp_path / 'b.json', '--merge-names')
    assert len(json.loads((tmp_path / 'b.json').read_text())['categories']) == 1


def test_near_images_are_found_among_many():
    """As comparing all pairs does, whatever bits differ."""
    rng = np.random.default_rng(0)
    hashes = [int(rng.integers(1, 2**63)) for _ in range(300)]
    thumbnail = rng.integers(0, 255, (32, 32), dtype=np.uint8)
    expected = set()
    for place in range(50):
        bits = rng.choice(64, place % 9, replace=False)
        hashes.append(hashes[place] ^ sum(1 << int(bit) for bit in bits))
        if place % 9 <= 6:
            expected.add((place, 300 + place))
    facts = [
        ImageFacts(None, None, False, bytes([k % 256, k // 256]), value, thumbnail)
        for k, value in enumerate(hashes)
    ]
    exact, near = same_images(facts)
    assert not exact and {*near} == expected


def test_orphans_in_folders(tmp_path):
    (tmp_path / 'a').mkdir()
    for name in ('a/1.png', 'a/2.JPG', 'b.txt', 'c.png'):
        (tmp_path / name).touch()
    assert orphans(tmp_path, ['a/1.png', './c.png']) == ['a/2.JPG']


def test_what_can_be_left_out_is_said_whatever_its_words(tmp_path, run):
    content = good()
    content['annotations'][0]['bbox'] = [1, 2]
    content['images'][1]['id'] = 1
    (tmp_path / 'train.json').write_text(json.dumps(content))
    _, text = run(tmp_path / 'train.json')
    images, box, *_ = text.split('ERROR')[1:]
    assert 'ids used by several images' in images and '--drop' not in images
    assert 'bbox is not' in box and '--drop' in box


def test_images_are_optional(tmp_path):
    split(tmp_path, 'train', good(), 0)
    data = named_splits([tmp_path / 'train.json'])
    assert data.splits[0].folder is None
