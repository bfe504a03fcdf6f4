"""Annotation files with the faults of real tools: told, mended, accepted."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from small_runs import box, coco

from tresnet_det import UserError
from tresnet_det.data.annotation_checks import check_annotations
from tresnet_det.data.mending import Choices, mend_annotations

TOOL = Path(__file__).parents[2] / 'tools' / 'check_data.py'
GOOD = coco([box(1, 5, 5, 20, 20), box(2, 9, 9, 20, 20, category=2)], ('a', 'b'))


def quotes(content):  # Roboflow
    for annotation in content['annotations']:
        annotation.update(
            bbox=[*annotation['bbox'][:2], *map(str, annotation['bbox'][2:])],
            area=str(annotation['area']),
            iscrowd='0',
            ignore='0',
        )
    content['images'][0].update(width='64', height='64')


def types(content):
    for annotation in content['annotations']:
        annotation['image_id'] = str(annotation['image_id'])
        annotation['category_id'] = float(annotation['category_id'])
    content['categories'][0]['id'] = '1'


def ids_twice(content):  # TACO
    content['annotations'][1]['id'] = 1


def without_area(content):
    for annotation in content['annotations']:
        del annotation['area'], annotation['iscrowd'], annotation['id']


FAULTS = {
    quotes: 'in quotes',
    types: 'another type',
    ids_twice: 'numbered anew',
    without_area: 'lacked area',
}


@pytest.mark.parametrize('fault', FAULTS)
def test_told_and_mended(fault):
    content = json.loads(json.dumps(GOOD))
    fault(content)
    with pytest.raises(
        UserError, match=r'check_data\.py ann\.json --mend mended\.json'
    ):
        check_annotations(content, 'ann.json', test_mode=True)
    done = mend_annotations(content)
    assert FAULTS[fault] in '; '.join(done)
    check_annotations(content, 'ann.json', test_mode=True)
    assert [a['bbox'] for a in content['annotations']] == [
        a['bbox'] for a in GOOD['annotations']
    ]
    assert not mend_annotations(content)  # a second time nothing is to do


def test_nothing_to_mend():
    content = json.loads(json.dumps(GOOD))
    assert mend_annotations(content) == [] and content == GOOD


@pytest.mark.parametrize('used', [(1, 1), (2, 2), (1, 2)])
def test_two_categories_of_one_name(used):
    """As Roboflow writes a class that has the name of its group."""
    boxes = [box(1, 5, 5 + 9 * k, 9, 9, category=c) for k, c in enumerate(used)]
    content = coco(boxes, ('p', 'p', 'q'))
    assert mend_annotations(content) == []  # a person must say so
    assert mend_annotations(content, choices=Choices(merge_names=True)) == [
        '1 categories had the name of another'
    ]
    assert [c['name'] for c in content['categories']] == ['p', 'q']
    kept = content['categories'][0]['id']
    assert kept == used[0] and {a['category_id'] for a in content['annotations']} == {
        kept
    }


def test_corners():
    content = coco([box(1, 5, 6, 25, 36)])
    mend_annotations(content, choices=Choices(corners=True))
    assert content['annotations'][0]['bbox'] == [5, 6, 20, 30]
    assert content['annotations'][0]['area'] == 600


@pytest.mark.parametrize(
    'boxes, done, left',
    [
        ([(5, 5, 9, 9)] * 2, '1 boxes stood twice', [[5, 5, 9, 9]]),
        ([(5, 5, 9, 9), (5, 5, 0, 9)], '1 boxes of no width', [[5, 5, 9, 9]]),
        ([(5, 5, 9, 9), (99, 5, 9, 9)], '1 boxes of no width', [[5, 5, 9, 9]]),
        (
            [(5, 5, 9, 9), (-4, 60, 9, 9)],
            '1 boxes were cut',
            [[5, 5, 9, 9], [0, 60, 5, 4]],
        ),
        ([(5, 5, 9, 9), (-1, 60, 9, 5)], None, [[5, 5, 9, 9], [-1, 60, 9, 5]]),
        # Most leave their image: of another size, so nobody knows.
        ([(60, 60, 90, 90)], None, [[60, 60, 90, 90]]),
    ],
)
def test_boxes_are_put_in_order(boxes, done, left):
    content = coco([box(1, *values) for values in boxes])
    said = mend_annotations(content)
    assert said == [] if done is None else done in said[0] and len(said) == 1
    assert [a['bbox'] for a in content['annotations']] == left
    assert all(a['area'] == a['bbox'][2] * a['bbox'][3] for a in content['annotations'])


def test_what_a_person_leaves_out():
    content = coco([box(1, 5, 5, 9, 9), box(9, 5, 5, 9, 9)], ('a', 'b'))
    content['images'][1]['width'] = None
    assert mend_annotations(content) == []
    done = mend_annotations(content, choices=Choices(drop=True, drop_classes=('b',)))
    assert done == [
        '2 entries that cannot be mended were left out',
        '1 categories were left out',
    ]
    check_annotations(content, 'ann.json')
    assert len(content['images']) == len(content['annotations']) == 1


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, 'argv', ['', *map(str, arguments)])
    try:
        runpy.run_path(str(TOOL), run_name='__main__')
    except SystemExit as stop:
        return f'{capsys.readouterr().out}{stop.code}'


@pytest.mark.parametrize(
    'encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-32']
)
def test_tool(tmp_path, monkeypatch, capsys, encoding):
    (tmp_path / 'in.json').write_bytes(json.dumps(GOOD).encode(encoding))
    text = run(
        monkeypatch, capsys, tmp_path / 'in.json', '--mend', tmp_path / 'out.json'
    )
    assert ('in place of UTF-' in text) == (encoding != 'utf-8')
    assert json.loads((tmp_path / 'out.json').read_text('utf-8')) == GOOD


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda c: c['annotations'][0].update(bbox=[1, 2]), 'bbox is not'),
        (lambda c: c['annotations'][0].update(image_id=77), 'none of the images'),
        (lambda c: c['annotations'][0].update(image_id=[1]), 'image_id is no number'),
        (lambda c: c['categories'].append(dict(id=[], name='x')), 'id is no number'),
        (lambda c: c.update(images=3), 'no COCO annotation file'),
    ],
)
def test_what_cannot_be_mended_is_said_and_nothing_written(
    tmp_path, monkeypatch, capsys, change, words
):
    content = json.loads(json.dumps(GOOD))
    change(content)
    (tmp_path / 'in.json').write_text(json.dumps(content))
    text = run(
        monkeypatch, capsys, tmp_path / 'in.json', '--mend', tmp_path / 'out.json'
    )
    assert text.count('error: ') == 1 and words in ' '.join(text.split())
    assert not (tmp_path / 'out.json').exists()
