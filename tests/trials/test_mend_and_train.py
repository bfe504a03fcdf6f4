"""Two files with the faults of real tools are told, mended and trained on."""

import json

from mend_and_train import tried
from small_runs import box, coco

from tresnet_det.data.checking.findings import Level


def test_numbers_in_quotes_and_another_ending(tmp_path):
    """As Roboflow and CVAT write them."""
    content = coco([box(1, 5, 5, 20, 20), box(2, 9, 9, 30, 20)], ('a', 'group'))
    for note in content['annotations']:
        note['bbox'] = [*note['bbox'][:2], *map(str, note['bbox'][2:])]
    (tmp_path / 'in.json').write_text(json.dumps(content))
    before, _, lines, _ = tried(tmp_path / 'in.json', tmp_path / 'work', '.jpg')
    errors = ' '.join(finding.text for finding in before.of(Level.ERROR))
    assert 'bbox is not' in errors and '2 of 2 images are not in' in errors
    assert '2 numbers were in quotes' in lines[0]
    assert '2 file names were changed' in lines[0]


def test_ids_twice_and_two_names(tmp_path):
    """As in TACO, and as Roboflow writes a group of the same name."""
    content = coco([box(1, 5, 5, 20, 20, category=2)] * 2, ('a', 'a'))
    content['annotations'][1].update(id=1, bbox=[60, 30, 20, 20])
    content['annotations'].append(box(2, 5, 5, 9, 9, category=2, id=3))
    (tmp_path / 'in.json').write_text(json.dumps(content))
    before, _, lines, _ = tried(tmp_path / 'in.json', tmp_path / 'work')
    texts = ' '.join(finding.text for finding in before.findings)
    for words in (
        '1 ids used by several',
        'leave their image',
        'names of categories stand twice: a',
    ):
        assert words in texts, texts
    assert lines[0].endswith(
        '3 annotations were numbered anew, 1 categories had the name of another, '
        '1 boxes were cut off at the border of their image'
    )
