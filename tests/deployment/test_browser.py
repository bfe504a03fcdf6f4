"""The page: its arithmetic in Node, its files, and all of it in Chromium."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from headless import PROGRAMS, browser
from stub_files import PREPROCESS, turn_by_exif, write_stub

from tresnet_det.common.errors import UserError
from tresnet_det.deployment import page
from tresnet_det.deployment.runtime import Detector, prepare

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'deployment' / 'make_page.py'
DATA = Path(os.environ.get('TRESNET_DET_DATA', ROOT.parent / 'shared' / 'data'))
needs_node = pytest.mark.skipif(not shutil.which('node'), reason='Node.js is absent')
NODE = """
const fs = require('fs');
const source = fs.readFileSync(process.argv[1], 'utf8').replace("'use strict';", '');
(0, eval)(source);
const cases = JSON.parse(fs.readFileSync(0, 'utf8'));
console.log(JSON.stringify(cases.map(({rgba, width, height, preprocess}) => {
  const pixels = Buffer.from(rgba, 'base64');
  const {data, dims, size} = prepareInput(pixels, width, height, preprocess);
  return {data: Buffer.from(data.buffer).toString('base64'), dims, size};
})));
"""


def noise(height, width, seed):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@needs_node
@pytest.mark.parametrize(
    'changes',
    [
        dict(),
        dict(keep_ratio=False, scale=[61, 37], pad_size_divisor=1),
        dict(bgr_to_rgb=False, pad_value=1.5),
        dict(inside=True),
        dict(inside=True, bgr_to_rgb=False, pad_value=-0.3),
        dict(mean=[0.0, 0, 0], std=[255.0, 255, 255], scale=[320, 320]),
    ],
    ids=lambda changes: '-'.join(changes) or 'plain',
)
def test_input_equals_the_runtimes_to_the_last_bit(changes):
    """Smaller, twice smaller, larger, as it is; OpenCV's own resize."""
    preprocess = dict(PREPROCESS, **changes)
    sizes = (90, 140), (240, 320), (120, 160), (30, 47), (333, 500), (2, 3), (1, 1)
    cases, expected = [], []
    for seed, size in enumerate(sizes):
        image = noise(*size, seed)
        expected.append(prepare([image], preprocess))
        rgba = cv2.cvtColor(image, cv2.COLOR_BGR2RGBA)
        cases.append(
            dict(
                rgba=base64.b64encode(rgba.tobytes()).decode(),
                height=size[0],
                width=size[1],
                preprocess=preprocess,
            )
        )
    done = subprocess.run(
        ['node', '-e', NODE, str(page.SOURCES / 'preprocess.js')],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
    )
    for answer, (inputs, (size,)) in zip(json.loads(done.stdout), expected):
        data = np.frombuffer(base64.b64decode(answer['data']), inputs.dtype)
        assert tuple(answer['size']) == size
        assert tuple(answer['dims']) == inputs.shape
        np.testing.assert_array_equal(data.reshape(inputs.shape), inputs)


@pytest.fixture
def engine(tmp_path):
    """Files with the names of onnxruntime-web's."""
    folder = tmp_path / 'engine'
    folder.mkdir()
    for name in page.FILES:
        (folder / name).write_text(f'/* ONNX Runtime Web v1.2.3 */ // {name}')
    return folder


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def run_tool(*arguments, **environment):
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=dict(os.environ, **environment),
    )


def test_the_tool_makes_the_page_and_makes_it_again(tmp_path, engine, monkeypatch):
    model = write_stub(tmp_path / 'the model.onnx')
    out = tmp_path / 'out' / 'page'
    done = run_tool(model, out, '--ort-dir', engine)
    assert done.returncode == 0, done.stderr
    assert str(out / 'index.html') in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {
        'the model.onnx',
        'engine',
        'out',
    }
    first = tree(out)
    info = json.loads((out / 'info.js').read_text()[len('const INFO = ') : -2])
    assert info['name'] == 'the model' and info['onnxruntime_web'] == '1.2.3'
    assert info['min_bbox_size'] == 0 and info['preprocess'] == PREPROCESS
    monkeypatch.setattr(page, 'PIECE', 300)  # several pieces
    page.make_page(model, out, engine)
    assert len(tree(out)) > len(first)
    info = json.loads((out / 'info.js').read_text()[len('const INFO = ') : -2])
    for name, content in (
        ('model', model.read_bytes()),
        ('wasm', (engine / page.WASM).read_bytes()),
    ):
        pieces = [(out / path).read_text() for path in info['parts'][name]['pieces']]
        texts = [re.fullmatch(r'PIECE\("(.*)"\);\n', piece)[1] for piece in pieces]
        assert b''.join(map(base64.b64decode, texts)) == content
        assert info['parts'][name]['bytes'] == len(content)
    # Nothing on the page names another place.
    for name, content in tree(out).items():
        assert b'://' not in content or name.startswith('pieces/'), name


def test_make_page_exports_what_make_demo_trained():
    if not shutil.which('make'):
        pytest.skip('make is absent')
    done = subprocess.run(
        ['make', '-n', 'page', 'PRECISION=int8'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.replace('\\\n', ' ').splitlines()
    demo, export, made = [line.split() for line in lines if 'tools/' in line][-3:]
    assert demo[1] == 'tools/demo.py' and (ROOT / export[2]).is_file()
    assert export[1] == 'tools/deployment/export.py' and export[-1] == 'int8'
    assert export[-3] == made[2] == 'work_dirs/demo/int8.onnx'
    assert (ROOT / made[1]) == TOOL and made[3] == 'work_dirs/demo/page'


def test_packages_and_folders_of_npm_are_taken(tmp_path, engine):
    model = write_stub(tmp_path / 'model.onnx')
    expected = tree(page.make_page(model, tmp_path / 'a', engine).parent)
    installed = tmp_path / 'project' / 'node_modules' / 'onnxruntime-web' / 'dist'
    shutil.copytree(engine, installed)
    with tarfile.open(tmp_path / 'web.tgz', 'w:gz') as tar:
        tar.add(engine, 'package/dist')
    for source in (tmp_path / 'project', installed.parent, tmp_path / 'web.tgz'):
        shutil.rmtree(tmp_path / 'a')
        assert tree(page.make_page(model, tmp_path / 'a', source).parent) == expected


def test_sizes_become_an_input_that_has_to_be_given(tmp_path):
    """onnxruntime-web takes no input that has a default."""
    for sizes in (False, True):
        path = write_stub(tmp_path / 'model.onnx', sizes=sizes)
        content, takes = page._with_sizes_required(path.read_bytes())
        assert takes is sizes
        model, expected = onnx.load_from_string(content), onnx.load(path)
        onnx.checker.check_model(model)
        kept = [t for t in expected.graph.initializer if t.name != 'sizes']
        del expected.graph.initializer[:]
        expected.graph.initializer.extend(kept)
        assert model == expected


def test_bad_input_leaves_nothing(tmp_path, engine):
    model = write_stub(tmp_path / 'model.onnx')
    raw = write_stub(tmp_path / 'raw.onnx', kind='raw')
    foreign = tmp_path / 'foreign.onnx'
    bare = onnx.load(model)
    bare.ClearField('metadata_props')
    onnx.save(bare, foreign)
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'index.html').write_text('mine')
    (tmp_path / 'empty').mkdir()
    before = tree(tmp_path)
    out = tmp_path / 'page'
    for arguments, message in (
        ((foreign, out, engine), 'of another program'),
        ((raw, out, engine), "'raw' outputs"),
        ((engine / page.API, out, engine), 'no ONNX file'),
        ((model, out, tmp_path / 'empty'), 'holds no onnxruntime-web.*npm pack'),
        ((model, out, tmp_path / 'no'), 'holds no onnxruntime-web'),
        ((model, out, model), 'no package of onnxruntime-web'),
        ((model, tmp_path / 'mine', engine), 'no page of an earlier run'),
        ((model, model, engine), 'is a file, expected a folder'),
    ):
        with pytest.raises(UserError, match=message):
            page.make_page(*arguments)
        assert tree(tmp_path) == before and not out.exists()
    done = run_tool(tmp_path / 'no.onnx', out, '--ort-dir', engine)
    assert done.returncode == 1 and done.stderr.count('\n') == 1
    assert done.stderr.startswith('error: ') and 'no.onnx' in done.stderr


def test_only_what_was_tried_is_taken_from_npm(tmp_path, engine, monkeypatch):
    """npm is a script here: it must not be asked for anything."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('PATH', str(tmp_path / 'bin'))
    (tmp_path / 'bin').mkdir()
    with pytest.raises(UserError, match='npm is not installed.*--ort-dir'):
        page.onnxruntime_web()
    npm = tmp_path / 'bin' / 'npm'
    npm.write_text('#!/bin/sh\necho "npm error no network" >&2\nexit 1\n')
    npm.chmod(0o755)
    with pytest.raises(UserError, match='error no network.*--ort-dir'):
        page.onnxruntime_web()
    tarball = tmp_path / 'web.tgz'
    with tarfile.open(tarball, 'w:gz') as tar:
        tar.add(engine, 'package/dist')
    name = page.TARBALL.rpartition('/')[2]
    npm.write_text(f'#!/bin/sh\n/bin/cp {tarball} ./{name}\n')
    with pytest.raises(UserError, match='downloaded another onnxruntime-web'):
        page.onnxruntime_web()
    assert not (tmp_path / 'cache').exists()
    monkeypatch.setattr(page, 'SHA512', page.sha512(tarball))
    folder = page.onnxruntime_web()
    assert {path.name for path in folder.iterdir()} == {*page.FILES}
    npm.unlink()
    assert page.onnxruntime_web() == folder  # no second time


def web_engine():
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        pytest.skip(f'{" and ".join(missing)} absent')
    folder = page.cached()
    if not folder.exists():
        pytest.skip(f'{folder} is absent: tools/deployment/make_page.py downloads it')
    return folder


def found_on_page(window, path):
    """Detections that the page holds, as arrays."""
    window.run('shown = null')
    window.type('#file', str(path))
    window.wait('shown')
    found = window.run('return shown.found')
    return (
        np.array([one['box'] for one in found], np.float32).reshape(-1, 4),
        np.array([one['score'] for one in found], np.float32),
        [one['label'] for one in found],
    )


READY = "!document.getElementById('file').disabled"


def test_page_in_chromium(tmp_path):
    model = write_stub(tmp_path / 'model.onnx', sizes=True)
    index = page.make_page(model, tmp_path / 'page', web_engine())
    detector = Detector(model, threads=1)
    image = cv2.resize(noise(7, 9, 0), (300, 200), interpolation=cv2.INTER_CUBIC)
    names = 'a.png', 'a.jpg', 'grey.jpg', 'small.webp', 'turned.jpg'
    for name in names:
        content = image[..., 1] if name == 'grey.jpg' else image
        content = content[: 90 if name == 'a.png' else 200]
        cv2.imwrite(str(tmp_path / name), content)
    turn_by_exif(tmp_path / 'turned.jpg', 6)
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    cv2.imwrite(str(tmp_path / 'line.png'), np.zeros((1, 1000, 3), np.uint8))
    # Wide, from the disk.
    with browser(tmp_path) as window:
        window.open(index.as_uri())
        window.wait(READY)
        for name in names:
            boxes, scores, labels = found_on_page(window, tmp_path / name)
            expected = detector(tmp_path / name)
            np.testing.assert_allclose(boxes, expected.xyxy, atol=2e-4)
            np.testing.assert_allclose(scores, expected.confidence, atol=1e-5)
            assert labels == expected.class_id.tolist()
        # The slider, by keys: all the way down shows all.
        assert window.run("return document.querySelectorAll('tbody tr').length") < 3
        window.type('#threshold', '\ue011')  # Home
        assert window.text('#threshold-value') == '0.00'
        assert window.run("return document.querySelectorAll('tbody tr').length") == 3
        assert '3 of 3 detections' in window.text('caption')
        label = "return document.getElementById('picture').getAttribute('aria-label')"
        assert 'turned.jpg with boxes: 1 red cell' in window.run(label)
        assert re.search(r'200x300 pixels. Detected in \d+.ms', window.text('#times'))
        window.type('#threshold', '\ue010')  # End: above all scores
        assert 'nothing with a score of 1.00 or more. The best' in window.text(
            '#status'
        )
        assert not window.run("return document.querySelector('thead').offsetParent")
        window.type('#threshold', '\ue011')
        # Keys reach everything: the first tab stop is the image, next the slider.
        window.run('document.activeElement.blur(); window.scrollTo(0, 0)')
        stops = window.run(
            "return [...document.querySelectorAll('input, [tabindex]')]"
            '.map((e) => e.id || e.className)'
        )
        assert stops == ['file', 'threshold', 'table']
        # What cannot be done is said in words, and the next image is taken.
        for name, words in (
            ('broken.jpg', 'broken.jpg cannot be read as an image'),
            ('line.png', '1000x1 pixels would be resized to 160x0'),
        ):
            window.type('#file', str(tmp_path / name))
            window.wait("!document.getElementById('error').hidden")
            assert words in window.text('#error')
            assert not window.run(
                "return document.querySelector('#result').offsetParent"
            )
        found_on_page(window, tmp_path / 'a.jpg')
        assert window.text('#error') == ''
        asked = [
            json.loads(entry['message'])['message']['params']['request']['url']
            for entry in window.log('performance')
            if '"Network.requestWillBeSent"' in entry['message']
        ]
        schemes = {url.partition(':')[0] for url in asked}
        assert 'file' in schemes and not schemes & {'http', 'https', 'ws', 'wss'}
        assert not [e for e in window.log() if e['level'] == 'SEVERE']
    # A phone, with a piece that was not copied.
    with browser(tmp_path, 390, 844, phone=True) as window:
        window.open(index.as_uri())
        window.wait(READY)
        found_on_page(window, tmp_path / 'a.png')
        assert window.run('return document.documentElement.scrollWidth') <= 390
        (index.parent / 'pieces' / 'wasm-001.js').unlink()
        window.open(index.as_uri())
        window.wait("!document.getElementById('error').hidden")
        assert 'pieces/wasm-001.js is missing' in window.text('#error')


@pytest.mark.long
def test_bccd_images_in_chromium(tmp_path):
    """Prints the largest differences to the runtime; for a real model

    TRESNET_DET_EXPORTED=model.onnx pytest -n 0 -s -m long tests/deployment -k bccd
    """
    images = sorted((DATA / 'bccd' / 'val').glob('*.jpg'))
    if not images:
        pytest.skip(f'{DATA / "bccd"} is absent')
    engine = web_engine()
    model = os.environ.get('TRESNET_DET_EXPORTED')
    model = Path(model) if model else write_stub(tmp_path / 'model.onnx')
    index = page.make_page(model, tmp_path / 'page', engine)
    detector = Detector(model)
    count, box_error, score_error = 0, 0.0, 0.0
    with browser(tmp_path) as window:
        window.open(index.as_uri())
        window.wait(READY)
        for image in images:
            boxes, scores, labels = found_on_page(window, image)
            expected = detector(image)
            assert labels == expected.class_id.tolist(), image.name
            count += len(labels)
            if labels:
                box_error = max(box_error, np.abs(boxes - expected.xyxy).max())
                errors = np.abs(scores - expected.confidence)
                score_error = max(score_error, errors.max())
    print(
        f'\n{model.name}: {len(images)} images, {count} detections, all of the same '
        f'class in the same order; boxes differ by at most {box_error:.2g} pixels, '
        f'scores by {score_error:.2g}'
    )
    assert score_error <= 1e-4
