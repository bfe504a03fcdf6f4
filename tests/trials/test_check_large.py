"""The annotations on which the time of check_data.py is measured."""

import json

import check_large
import pytest

from tresnet_det.data.checking.check import check
from tresnet_det.data.checking.findings import Level
from tresnet_det.data.checking.splits import named_splits


@pytest.mark.parametrize('faults', [0, 0.1])
def test_what_is_made_has_the_faults_that_are_asked_for(tmp_path, faults):
    content = check_large.annotations(50, 400, faults)
    assert content == check_large.annotations(50, 400, faults)
    assert (len(content['images']), len(content['annotations'])) == (50, 400)
    file = tmp_path / 'train.json'
    file.write_text(json.dumps(content))
    found = check(named_splits([file]))
    told = ' '.join(finding.text for finding in found.findings)
    kinds = 'numbers are in quotes', 'ids used by several', 'stand twice'
    assert [kind in told for kind in kinds] == [bool(faults)] * 3, told
    assert bool(found.of(Level.ERROR)) == bool(faults)


def test_seconds_are_those_of_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check_large, 'SIZES', ((2, 10), (4, 20)))
    took = iter([(9, 9), (1, 1), (2, 2), (4, 4.5)])
    monkeypatch.setattr(check_large, 'seconds', lambda file: next(took))
    monkeypatch.setattr('sys.argv', ['check_large.py'])
    check_large.main()
    assert capsys.readouterr().out == 'ratio 3.00, of the processor 3.50\n'
