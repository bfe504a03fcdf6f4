"""Each tool that takes files, given wrong ones: one line that helps.

Files are of another kind, folders, empty, cut, swapped, binary, of somebody
else.
"""

import json
import os
import pickle
import runpy
import sys
from pathlib import Path

import pytest
from small_runs import box, coco, write_data

import tresnet_det  # noqa: F401

TOOLS = Path(__file__).parents[1] / 'tools'
ANN = coco([box(1, 10, 10, 30, 30), box(2, 5, 5, 20, 20)])
FOUND = [dict(image_id=1, category_id=1, bbox=[10, 10, 30, 30], score=0.9)]
COMPARE = 'analysis_tools/compare_evaluators.py'


def files(folder):
    """What a case names: a right file, and wrong ones of each kind."""
    write_data(folder / 'data', ANN)
    for name, content in {
        'ann': ANN,
        'found': FOUND,
        'other_set': [dict(FOUND[0], image_id=77)],
        'strings': [dict(FOUND[0], image_id='1')],
        'no_class': [dict(FOUND[0], category_id=9)],
        'no_score': [{k: v for k, v in FOUND[0].items() if k != 'score'}],
        'nan': [dict(FOUND[0], score=float('nan'))],
        'box_of_3': [dict(FOUND[0], bbox=[1, 2, 3])],
        'masks': [dict(image_id=1, category_id=1, score=0.9, segmentation={})],
        'numbers': [1, 2],
        'word': 'x',
        'null': None,
    }.items():
        (folder / f'{name}.json').write_text(json.dumps(content))
    whole = (folder / 'found.json').read_bytes()
    (folder / 'cut.json').write_bytes(whole[:-9])
    (folder / 'cut_ann.json').write_bytes((folder / 'ann.json').read_bytes()[:-9])
    (folder / 'bom.json').write_bytes(b'\xef\xbb\xbf' + whole)
    (folder / 'utf16.json').write_bytes(whole.decode().encode('utf-16'))
    (folder / 'empty.json').touch()
    (folder / 'found.pkl').write_bytes(pickle.dumps(FOUND))
    (folder / 'a folder').mkdir()
    (folder / 'picture.png').write_bytes(b'\x89PNG\r\n\x1a\n')
    (folder / 'config.py').write_text('model = dict(')
    (folder / 'no_model.py').write_text('a = 1')
    (folder / 'secret.json').write_bytes(whole)
    (folder / 'secret.json').chmod(0)


BAD = {  # of any tool that reads JSON
    'no.json': 'No such file',
    'a folder': 'Is a directory',
    'empty.json': 'it is empty',
    'cut_ann.json': 'cut short',
    'picture.png': 'it is binary',
    'found.pkl': 'a pickle',
    'bom.json': 'byte order mark',
    'utf16.json': 'UTF-16',
    'secret.json': 'Permission denied',
    'word.json': 'holds a str',
    'null.json': 'holds a NoneType',
    'found.json': 'swapped',
}
CASES = [
    *((f'{COMPARE} {name} found.json', words) for name, words in BAD.items()),
    *(
        (f'{COMPARE} ann.json {name}', words)
        for name, words in {
            **BAD,
            'cut.json': 'cut short',
            'found.json': None,
            'ann.json': 'are two arguments swapped',
            'word.json': 'holds a str',
            'other_set.json': '1 values of image_id are not there (77; there are 1, 2)',
            'strings.json': 'strings against numbers',
            'no_class.json': 'values of category_id',
            'no_score.json': '1 detections without "score" (number 0)',
            'nan.json': 'score is no finite number',
            'box_of_3.json': 'bbox is not',
            'masks.json': 'without "bbox"',
            'numbers.json': '2 detections that are no dicts',
        }.items()
    ),
    (f'{COMPARE} found.json ann.json', 'swapped'),
    (f'{COMPARE} ann.json found.json --max-dets 1 1 1', 'three different'),
    (f'{COMPARE} ann.json found.json --max-dets 0 1 100', 'three different'),
    *(
        (f'dataset_converters/coco_multilabel.py {name} out.json', words)
        for name, words in BAD.items()
    ),
    ('dataset_converters/coco_multilabel.py ann.json data', 'Is a directory'),
    ('dataset_converters/coco_multilabel.py ann.json ann.json/x', 'exists'),
    *(
        (f'dataset_converters/coco_subset.py {name} data/images out', words)
        for name, words in BAD.items()
    ),
    (
        'dataset_converters/coco_subset.py data/images ann.json out',
        'Is a directory',
    ),
    (
        'dataset_converters/coco_subset.py ann.json ann.json out --num-images 1',
        '1 of 1 images',
    ),
    *(
        (f'check_data.py {name} --mend out.json', words)
        for name, words in BAD.items()
        if name not in ('bom.json', 'utf16.json', 'a folder')
    ),
    *(
        (f'check_data.py {arguments}', words)
        for arguments, words in {
            'a folder': 'expected an annotation file before it',
            'ann.json a folder data/images': 'expected an annotation file before it',
            'ann.json no': 'the folder of images no does not exist',
            'ann.json ann.json': 'ann.json is given twice',
            'no.txt': 'no.txt does not exist',
            'no.py': 'no.py',
            'config.py': 'config.py',
            'no_model.py': 'train_dataloader',
            'ann.json --mend ann.json': 'is the file that is checked',
            'ann.json --mend data/../ann.json': 'is the file that is checked',
            'ann.json --mend found.json': 'found.json exists',
            'ann.json --mend data': 'is a folder: give the name of a file',
            'ann.json --mend found.json/x.json': 'exists',
            'ann.json --report found.json': 'is a file: give the name of a folder',
            'ann.json --report data': 'holds other files',
            'ann.json --report found.json/x': 'directory',
            'ann.json --report data/images --mend out.json': 'holds other files',
        }.items()
    ),
    ('misc/make_demo_data.py ann.json', 'ann.json exists'),
    ('misc/make_demo_data.py ann.json/x', 'ann.json'),
    ('misc/download_coco.py ann.json --split val2017', 'ann.json'),
    *(
        (f'model_converters/convert_checkpoint.py {name} out.pth --to mm', words)
        for name, words in {
            'no.pth': 'does not exist',
            'a folder': 'a folder',
            'empty.json': '0 bytes',
            'ann.json': 'no checkpoint',
            'picture.png': 'no checkpoint',
            'found.pkl': 'found.pkl',
        }.items()
    ),
    *(
        (f'analysis_tools/flops_table.py {name}', words)
        for name, words in {
            'no.py': 'no.py',
            'a folder': 'a folder',
            'ann.json': 'ann.json',
            'config.py': 'config.py',
            'no_model.py': 'no_model.py',
            'picture.png': 'picture.png',
        }.items()
    ),
    *(
        (f'compare.py {name} {name} --dry-run', words)
        for name, words in {
            'no.py': 'no.py',
            'a folder': 'a folder',
            'ann.json': 'ann.json',
            'config.py': 'config.py',
            'no_model.py': 'no_model.py',
        }.items()
    ),
]


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp('arguments')
    files(folder)
    for path in (folder, *folder.parents):
        try:
            path.chmod(path.stat().st_mode | 0o555)
        except OSError:
            break
    return folder


def words_of(command):
    for name in ('a folder',):
        command = command.replace(name, name.replace(' ', '\0'))
    return [word.replace('\0', ' ') for word in command.split()]


@pytest.mark.parametrize('command, words', CASES, ids=[case[0] for case in CASES])
def test_one_line(place, monkeypatch, capsys, command, words):
    monkeypatch.chdir(place)
    tool, *arguments = words_of(command)
    before = {path: path.lstat().st_mtime_ns for path in place.rglob('*')}
    monkeypatch.setattr(sys, 'argv', [tool, *arguments])
    text = ''
    somebody = 'secret' in command and os.geteuid() == 0  # root may read anything
    if somebody:
        os.seteuid(65534)
    try:
        runpy.run_path(str(TOOLS / tool), run_name='__main__')
    except SystemExit as stop:
        text = str(stop.code)
    finally:
        if somebody:
            os.seteuid(0)
    if words is None:
        assert text in ('', '0')
        return
    assert text.startswith('error: '), text
    assert words in text and 'Traceback' not in text
    after = {path: path.lstat().st_mtime_ns for path in place.rglob('*')}
    assert {k: v for k, v in after.items() if k.is_file()} == {
        k: v for k, v in before.items() if k.is_file()
    }
