"""tools/deployment/detect.py: folders, videos, what is drawn and written."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from stub_files import BLOCK, CLASSES, write_stub

from tresnet_det.common.errors import UserError
from tresnet_det.deployment.pictures import detect_images, detect_video, draw
from tresnet_det.deployment.runtime import Detector

TOOL = Path(__file__).parents[2] / 'tools' / 'deployment' / 'detect.py'


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return write_stub(tmp_path_factory.mktemp('stub') / 'model.onnx')


def scene(left, top, width=140, height=90):
    image = np.full((height, width, 3), 30, np.uint8)
    image[top : top + 30, left : left + 40] = 255
    return image


@pytest.fixture
def folder(tmp_path):
    """Four images, one of them below; what is no image is left alone."""
    (tmp_path / 'images' / 'unten ü').mkdir(parents=True)
    for i, name in enumerate(('b.png', 'a.jpg', 'c.bmp', 'unten ü/b.png')):
        ok, content = cv2.imencode(
            Path(name).suffix, scene(10 * i, 5 * i, 140 + 60 * i)
        )
        (tmp_path / 'images' / name).write_bytes(content.tobytes())
    (tmp_path / 'images' / 'notes.txt').write_text('no image')
    return tmp_path / 'images'


def annotation_file(path, images, shift=10):
    categories = [dict(id=shift - i, name=name) for i, name in enumerate(CLASSES)]
    truth = [
        dict(
            id=i + 1,  # pycocotools takes 0 for none
            image_id=image['id'],
            category_id=shift,
            bbox=[10 * i, 5 * i, 40, 30],
            area=1200,
            iscrowd=0,
        )
        for i, image in enumerate(images)
    ]
    path.write_text(
        json.dumps(dict(images=images, annotations=truth, categories=categories))
    )
    return path


def test_draw_marks_the_box_and_keeps_the_image(model):
    image = scene(30, 40)
    before = image.copy()
    found = Detector(model)(image)[:1]
    drawn = draw(image, found)
    assert (image == before).all() and drawn.shape == image.shape
    left, top, right, bottom = found.xyxy[0].round().astype(int)
    edge = drawn[(top + bottom) // 2, left]
    assert (edge != before[(top + bottom) // 2, left]).any()
    assert (drawn[bottom + 5 :] == before[bottom + 5 :]).all()
    assert (draw(image, found[:0]) == image).all()
    draw(np.zeros((1, 1, 3), np.uint8), found)  # smaller than its letters


@pytest.mark.parametrize('batch_size', [1, 3])
def test_results_are_those_of_coco(model, folder, tmp_path, batch_size):
    out = tmp_path / 'out'
    images = [
        dict(id=70 - i, file_name=name, width=200, height=90)
        for i, name in enumerate(('b.png', 'a.jpg', 'c.bmp', 'unten ü/b.png'))
    ]
    truth = annotation_file(tmp_path / 'val.json', images)
    failed = detect_images(
        Detector(model), folder, out, 0.5, batch_size, annotations=truth
    )
    assert not failed
    with redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        results = coco.loadRes(str(out / 'detections.json'))
        evaluation = COCOeval(coco, results, 'bbox')
        evaluation.params.catIds = [10]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[1] > 0.99  # AP50: each field is found where it is
    assert len(results.getAnnIds()) == 12  # also below the threshold of pictures
    named = json.loads((out / 'images.json').read_text())
    assert {(one['id'], one['file_name']) for one in named['images']} == {
        (one['id'], one['file_name']) for one in images
    }
    pictures = {
        path.relative_to(out / 'pictures').as_posix()
        for path in (out / 'pictures').rglob('*.*')
    }
    assert pictures == {one['file_name'] for one in images}


def test_ids_without_annotations_count_from_one(model, folder, tmp_path):
    out = tmp_path / 'out'
    detect_images(Detector(model), folder, out, pictures=False)
    named = json.loads((out / 'images.json').read_text())
    assert [(one['id'], one['file_name']) for one in named['images']] == [
        (1, 'a.jpg'),
        (2, 'b.png'),
        (3, 'c.bmp'),
        (4, 'unten ü/b.png'),
    ]
    assert [one['name'] for one in named['categories']] == list(CLASSES)
    found = json.loads((out / 'detections.json').read_text())
    assert {one['category_id'] for one in found} == {1, 2, 3}
    assert {path.name for path in out.iterdir()} == {'images.json', 'detections.json'}


def test_own_pictures_are_not_taken_again(model, folder):
    detector = Detector(model)
    for _ in range(2):
        detect_images(detector, folder, folder / 'out')
        named = json.loads((folder / 'out' / 'images.json').read_text())
        assert len(named['images']) == 4
    with pytest.raises(UserError, match='where the pictures would be written'):
        detect_images(detector, folder / 'out' / 'pictures', folder / 'out')


def test_bad_images_take_no_other_with_them(model, folder, tmp_path):
    (folder / 'broken.jpg').write_bytes(b'no image')
    cv2.imwrite(str(folder / 'line.png'), np.zeros((1, 1000, 3), np.uint8))
    failed = detect_images(Detector(model), folder, tmp_path / 'out', batch_size=6)
    assert [Path(path).name for path in failed] == ['broken.jpg', 'line.png']
    assert 'cannot be read as an image' in failed[str(folder / 'broken.jpg')]
    assert 'line.png: an image of 1000x1' in failed[str(folder / 'line.png')]
    named = json.loads((tmp_path / 'out' / 'images.json').read_text())
    assert len(named['images']) == 4


def test_what_does_not_fit_is_refused_before_anything_is_written(
    model, folder, tmp_path
):
    detector, out = Detector(model), tmp_path / 'out'
    known = [dict(id=i, file_name=name) for i, name in enumerate(('a.jpg', 'b.png'))]
    bad = tmp_path / 'bad.json'
    bad.write_text('[]')
    (tmp_path / 'empty').mkdir()
    other = annotation_file(tmp_path / 'val.json', known)
    known.append(dict(id=9, file_name='c.bmp'))
    twice = annotation_file(tmp_path / 'twice.json', known)
    classes = tmp_path / 'classes.json'
    classes.write_text(twice.read_text().replace(CLASSES[0], 'cat'))
    for source, annotations, message in (
        (tmp_path / 'empty', None, 'holds no image'),
        (folder, bad, 'no annotation file in COCO form'),
        (folder, classes, 'no category red cell, which the model finds'),
        (folder, other, 'c.bmp is not in the annotation file'),
        (folder, twice, 'b.png and unten ü/b.png are both image 1'),
    ):
        with pytest.raises(UserError, match=message):
            detect_images(detector, source, out, annotations=annotations)
        assert not out.exists()
    with pytest.raises(UserError, match='nothing can be written into .*bad.json'):
        detect_images(detector, folder, bad / 'out')
    with pytest.raises(FileNotFoundError):
        detect_video(detector, tmp_path / 'no.mp4', out)
    (tmp_path / 'broken.mp4').write_bytes(b'no video')
    with pytest.raises(UserError, match='cannot be read as a video'):
        detect_video(detector, tmp_path / 'broken.mp4', out)
    assert not out.exists()


def test_video(model, tmp_path):
    source = tmp_path / 'a film.avi'
    writer = cv2.VideoWriter(
        str(source), cv2.VideoWriter.fourcc(*'MJPG'), 12, (160, 120)
    )
    if not writer.isOpened():
        pytest.skip('this OpenCV writes no MJPG')
    for i in range(5):
        writer.write(scene(10 * i, 20, 160, 120))
    writer.release()
    totals = []

    def progress(frames, total):
        totals.append(total)
        return frames

    detect_video(Detector(model), source, tmp_path / 'out', progress=progress)
    assert totals == [5]
    named = json.loads((tmp_path / 'out' / 'images.json').read_text())
    assert [one['frame'] for one in named['images']] == [1, 2, 3, 4, 5]
    found = json.loads((tmp_path / 'out' / 'detections.json').read_text())
    lefts = [one['bbox'][0] for one in found if one['category_id'] == 1]
    assert np.allclose(lefts, [0, 10, 20, 30, 40], atol=2)
    video = cv2.VideoCapture(str(tmp_path / 'out' / 'pictures' / 'a film.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert round(video.get(cv2.CAP_PROP_FPS)) == 12
    assert {path.name for path in (tmp_path / 'out' / 'pictures').iterdir()} == {
        'a film.mp4'
    }


def run_tool(*arguments, block=''):
    """The tool as users call it, where the named packages are absent."""
    script = (
        BLOCK.replace("'torch',", f"'torch', {block}")
        + 'import runpy; sys.argv = sys.argv[1:]\n'
        + f'sys.path.insert(0, {str(TOOL.parent)!r})\n'
        + "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, '-c', script, str(TOOL), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': ''},
    )


@pytest.mark.parametrize('block', ['', "'rich',", "'rich', 'tqdm',"])
def test_the_tool_needs_no_stack_and_no_bar(model, folder, tmp_path, block):
    (folder / 'broken.jpg').write_bytes(b'')
    out = tmp_path / 'a' / 'b'
    done = run_tool(model, folder, out, '--threads', '1', block=block)
    assert done.returncode == 1
    assert 'error: 1 images were left out:' in done.stderr
    assert 'broken.jpg cannot be read as an image: the file is empty' in done.stderr
    assert 'Traceback' not in done.stderr
    assert f'{out}: detections.json, images.json, pictures' in done.stdout
    assert len(json.loads((out / 'detections.json').read_text())) == 12


def test_the_tools_errors_are_one_line(model, folder, tmp_path):
    for arguments, message in (
        ((tmp_path / 'no.onnx', folder, tmp_path / 'out'), 'no.onnx'),
        ((model, tmp_path / 'no.jpg', tmp_path / 'out'), 'no.jpg'),
        ((folder / 'b.png', folder, tmp_path / 'out'), 'is no ONNX file'),
        ((model, folder, tmp_path / 'out', '--batch-size', '0'), '--batch-size is 0'),
        (
            (model, tmp_path / 'a.mp4', tmp_path / 'out', '--no-pictures'),
            'a.mp4 is a video',
        ),
    ):
        done = run_tool(*arguments)
        assert done.returncode == 1
        errors = [line for line in done.stderr.splitlines() if 'error: ' in line]
        assert len(errors) == 1 and message in done.stderr, done.stderr
        assert 'Traceback' not in done.stderr
