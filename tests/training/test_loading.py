"""Images of every kind give the right pixels; those that fail, an error or
a line in a list."""

import json
import shutil
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS
from PIL import Image
from small_runs import SIZE, box, coco, small_run, write_data

from tresnet_det import UserError
from tresnet_det.data.image_reading import _is_whole
from tresnet_det.training.runner.loading import (
    LoadCheckedImage,
    check_when_loading,
)

# Smooth, so that JPEG keeps it: red grows to the right, green downwards.
X, Y = np.meshgrid(np.linspace(0, 255, 48), np.linspace(0, 255, 32))
RGB = np.stack([X, Y, np.full_like(X, 128)], -1).astype(np.uint8)


def load(path, **results):
    return LoadCheckedImage().transform(dict(img_path=str(path), **results))


def grey():
    return RGB[..., 0]


# Name -> what is written, the RGB values it should be read as, tolerance.
KINDS = {
    'a.png': (lambda p: Image.fromarray(RGB).save(p), RGB, 0),
    'a.bmp': (lambda p: Image.fromarray(RGB).save(p), RGB, 0),
    'a.tif': (lambda p: Image.fromarray(RGB).save(p), RGB, 0),
    'a.webp': (lambda p: Image.fromarray(RGB).save(p, lossless=True), RGB, 0),
    'a.jpg': (lambda p: Image.fromarray(RGB).save(p, quality=95), RGB, 9),
    'progressive.jpg': (
        lambda p: Image.fromarray(RGB).save(p, quality=95, progressive=True),
        RGB,
        9,
    ),
    'cmyk.jpg': (
        lambda p: Image.fromarray(RGB).convert('CMYK').save(p, quality=95),
        RGB,
        12,
    ),
    'cmyk.tif': (lambda p: Image.fromarray(RGB).convert('CMYK').save(p), RGB, 2),
    'grey.png': (
        lambda p: Image.fromarray(grey()).save(p),
        np.stack([grey()] * 3, -1),
        0,
    ),
    'grey.jpg': (
        lambda p: Image.fromarray(grey()).save(p, quality=95),
        np.stack([grey()] * 3, -1),
        3,
    ),
    'bit.png': (
        lambda p: (
            Image.fromarray(grey()).point(lambda v: 255 * (v > 99)).convert('1').save(p)
        ),
        np.stack([255 * (grey() > 99)] * 3, -1),
        0,
    ),
    '16 bit grey.png': (
        lambda p: cv2.imwrite(str(p), grey().astype(np.uint16) * 257),
        np.stack([grey()] * 3, -1),
        1,
    ),
    '16 bit colour.png': (
        lambda p: cv2.imwrite(str(p), RGB[..., ::-1].astype(np.uint16) * 257),
        RGB,
        1,
    ),
    '16 bit colour.tif': (
        lambda p: cv2.imwrite(str(p), RGB[..., ::-1].astype(np.uint16) * 257),
        RGB,
        1,
    ),
    'alpha.png': (
        lambda p: Image.fromarray(np.dstack([RGB, 255 - grey()])).save(p),
        RGB,
        0,
    ),
    'grey alpha.png': (
        lambda p: Image.fromarray(np.dstack([grey(), 255 - grey()])).save(p),
        np.stack([grey()] * 3, -1),
        0,
    ),
    'palette.png': (lambda p: Image.fromarray(RGB).quantize(256).save(p), RGB, 24),
    'a.gif': (lambda p: Image.fromarray(RGB).quantize(256).save(p), RGB, 24),
    'trailing bytes.jpg': (
        lambda p: (
            Image.fromarray(RGB).save(p, quality=95),
            p.write_bytes(p.read_bytes() + b'\0' * 99),
        ),
        RGB,
        9,
    ),
    'a PNG in truth.jpg': (lambda p: Image.fromarray(RGB).save(p, 'PNG'), RGB, 0),
    'with space, ü, 画像.png': (lambda p: Image.fromarray(RGB).save(p), RGB, 0),
}


@pytest.mark.parametrize('name', KINDS)
def test_kinds(tmp_path, name):
    write, expected, tolerance = KINDS[name]
    write(tmp_path / name)
    if not cv2.haveImageReader(str(tmp_path / name)):
        assert name == 'a.gif'
        pytest.skip(f'OpenCV {cv2.__version__} reads no GIF')
    results = load(tmp_path / name, width=48, height=32)
    assert results['img'].dtype == np.uint8
    assert results['img_shape'] == results['ori_shape'] == (32, 48)
    difference = results['img'][..., ::-1].astype(int) - expected
    assert np.abs(difference).max() <= tolerance


@pytest.mark.parametrize(
    'orientation, turn',
    [
        (1, lambda x: x),
        (2, lambda x: x[:, ::-1]),
        (3, lambda x: x[::-1, ::-1]),
        (6, lambda x: np.rot90(x, -1)),
        (8, np.rot90),
    ],
)
def test_orientation_of_exif(tmp_path, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / 'a.jpg', quality=95, exif=exif)
    image = load(tmp_path / 'a.jpg')['img'][..., ::-1].astype(int)
    assert np.abs(image - turn(RGB)).max() <= 9


@pytest.mark.parametrize('ending', ['jpg', 'png'])
def test_end_of_file_is_looked_for(tmp_path, ending):
    """OpenCV 4 reads such files without an error."""
    path = tmp_path / f'a.{ending}'
    Image.fromarray(RGB).save(path)
    whole = path.read_bytes()
    assert _is_whole(whole) and _is_whole(whole + b'more')
    assert not any(_is_whole(whole[: int(len(whole) * share)]) for share in (0.3, 0.6))


def test_same_as_mmcv_where_nothing_is_wrong(tmp_path):
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    results = dict(img_path=str(tmp_path / 'a.png'))
    base = LoadCheckedImage.__mro__[1]
    for options in (
        dict(),
        dict(to_float32=True),
        dict(color_type='grayscale'),
        dict(imdecode_backend='pillow'),
    ):
        ours, theirs = (
            cls(**options).transform(dict(results)) for cls in (LoadCheckedImage, base)
        )
        assert ours['img'].dtype == theirs['img'].dtype
        assert (ours['img'] == theirs['img']).all()
        assert {k: v for k, v in ours.items() if k != 'img'} == {
            k: v for k, v in theirs.items() if k != 'img'
        }
    gone = dict(img_path=str(tmp_path / 'b.png'))
    assert LoadCheckedImage(ignore_empty=True).transform(gone) is None


def test_other_places_than_disks(tmp_path):
    """With errors of their own, and the old way to name them."""
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    with patch('mmengine.fileio.FileClient.infer_client') as client:
        client().get.return_value = (tmp_path / 'a.png').read_bytes()
        results = LoadCheckedImage(file_client_args=dict(backend='petrel')).transform(
            dict(img_path='s3://a.png')
        )
    assert (results['img'][..., ::-1] == RGB).all()
    log = tmp_path / 'log.txt'
    loading = LoadCheckedImage(skip_log=str(log))
    with patch('mmengine.fileio.get', side_effect=LookupError('no such key')):
        assert loading.transform(dict(img_path='s3://b.png')) is None
    assert log.read_text() == ('left out: s3://b.png cannot be read: no such key\n')
    with (
        pytest.raises(ImportError),
        patch('mmengine.fileio.get', side_effect=ImportError),
    ):
        loading.transform(dict(img_path='s3://b.png'))


def test_every_pipeline_of_a_data_set_is_changed(tmp_path):
    inner = dict(
        type='CocoDataset',
        pipeline=[
            dict(type='LoadImageFromFile', to_float32=True),
            dict(type='PackDetInputs'),
        ],
    )
    cfg = dict(
        type='ConcatDataset',
        datasets=[
            dict(type='RepeatDataset', times=2, dataset=inner),
            dict(inner, test_mode=True),
        ],
    )
    changed = check_when_loading(cfg, 'log')
    train = changed['datasets'][0]['dataset']['pipeline']
    test = changed['datasets'][1]['pipeline']
    assert train[0] == dict(
        type=LoadCheckedImage, to_float32=True, skip_log='log', blank=False
    )
    assert test[0]['blank'] and train[1] == dict(type='PackDetInputs')
    assert inner['pipeline'][0]['type'] == 'LoadImageFromFile'


@pytest.fixture
def corrupt(tmp_path):
    """Eight images, three of them unusable, in a folder with a difficult
    name."""
    root = write_data(
        tmp_path / 'my dätä 数',
        coco([box(k, 10, 10, 30, 30) for k in range(1, 9)], num_images=8),
    )
    (root / 'images' / '2.png').write_bytes(b'')
    (root / 'images' / '5.png').write_bytes(
        (root / 'images' / '5.png').read_bytes()[:99]
    )
    (root / 'images' / '7.png').unlink()
    return root


@pytest.mark.parametrize('workers', [0, 2])
def test_skipped_counted_and_listed(tmp_path, corrupt, workers):
    runner = small_run(
        'fcos',
        corrupt,
        tmp_path / 'run',
        **{
            'skip_corrupt_images': True,
            'train_cfg.max_epochs': 1,
            'train_cfg.val_interval': 1,
            'train_dataloader.num_workers': workers,
            'val_dataloader.num_workers': workers,
        },
    )
    runner.train()
    assert runner.iter == 4  # as many images as without the option
    assert (
        runner.message_hub.get_scalar('val/coco/bbox_mAP').current() >= 0
    )  # all eight are evaluated
    text = Path(runner.log_dir, f'{runner.timestamp}.log').read_text()
    assert '3 images could not be used and were evaluated as black' in text
    for kind in ('left out', 'taken as black'):
        end = text.partition(f'3 images were {kind}')[2]
        for name, reason in (
            ('2.png', 'is empty (0 bytes)'),
            ('5.png', 'is cut short'),
            ('7.png', 'cannot be read: No such file'),
        ):
            path = corrupt / 'images' / name
            assert f'{kind}: {path} {reason}' in end


def test_black_image_has_the_annotated_size(tmp_path):
    log = tmp_path / 'log.txt'
    results = LoadCheckedImage(skip_log=str(log), blank=True).transform(
        dict(img_path='no.png', width=48, height=32)
    )
    assert results['img'].shape == (32, 48, 3) and not results['img'].any()
    assert results['ori_shape'] == (32, 48)
    assert log.read_text().startswith('taken as black: no.png')


def test_log_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match=f'{tmp_path} cannot be written: Is'):
        LoadCheckedImage(skip_log=str(tmp_path)).transform(dict(img_path='no.png'))


def test_without_the_option_the_first_stops(tmp_path, corrupt):
    shutil.copy(corrupt / 'images' / '1.png', corrupt / 'images' / '7.png')
    runner = small_run('fcos', corrupt, tmp_path / 'run')
    with pytest.raises(UserError, match='skip_corrupt_images = True'):
        runner.train()
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_nothing_left_is_no_endless_search(tmp_path):
    root = write_data(tmp_path / 'data', coco([box(1, 5, 5, 20, 20)], num_images=1))
    (root / 'images' / '1.png').write_bytes(b'')
    runner = small_run('fcos', root, tmp_path / 'run', skip_corrupt_images=True)
    with pytest.raises(Exception, match='Cannot find valid image'):
        runner.train()


def test_real_annotations_have_the_right_sizes(tmp_path):
    """The check of sizes lets a sound set pass, image by image."""
    root = write_data(tmp_path / 'data', coco([box(1, 5, 5, 20, 20)]))
    dataset = DATASETS.build(
        check_when_loading(
            dict(
                type='CocoDataset',
                data_root=str(root),
                ann_file='ann.json',
                data_prefix=dict(img='images'),
                metainfo=dict(classes=('thing',)),
                test_mode=True,
                pipeline=[dict(type='LoadImageFromFile')],
            )
        )
    )
    assert [dataset[k]['img'].shape for k in range(len(dataset))] == [
        (SIZE, SIZE, 3)
    ] * 2
    assert json.loads((root / 'ann.json').read_text())['images']


@pytest.mark.parametrize(
    'dtype, numbers',
    [(np.float32, 'floating-point'), (np.int32, 'whole')],
)
def test_what_has_no_black_and_white_is_told(tmp_path, dtype, numbers):
    """As microscopes and maps are stored; Pillow reads them, OpenCV does not."""
    Image.fromarray(Y.astype(dtype)).save(tmp_path / 'a.tif')
    with pytest.raises(UserError, match=f'TIFF with 32-bit {numbers} .*8 or 16 bits'):
        load(tmp_path / 'a.tif', width=48, height=32)


def test_a_line_of_the_log_is_an_image(tmp_path):
    """A name with a line break would be counted as two."""
    log = tmp_path / 'skipped.txt'
    transform = LoadCheckedImage(skip_log=str(log))
    assert transform.transform(dict(img_path=str(tmp_path / 'a\nleft out: b'))) is None
    assert len(log.read_text().splitlines()) == 1
