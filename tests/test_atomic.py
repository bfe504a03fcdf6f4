"""Files and folders appear whole or not at all."""

import pytest

from tresnet_det.atomic import written_whole


def test_file_is_replaced_at_the_end(tmp_path):
    target = tmp_path / 'deep' / 'a.txt'
    for text in ('first', 'second'):
        with written_whole(target) as part:
            part.write_text(text)
            assert part.name == 'a.txt'
            assert not target.exists() or target.read_text() == 'first'
        assert target.read_text() == text
    assert list(target.parent.iterdir()) == [target]


def test_failure_leaves_what_was_there(tmp_path):
    target = tmp_path / 'a.txt'
    target.write_text('old')
    with pytest.raises(KeyError):
        with written_whole(target) as part:
            part.write_text('half')
            raise KeyError
    assert target.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [target]


def test_folder_but_never_over_another(tmp_path):
    target = tmp_path / 'folder'
    with written_whole(target) as part:
        part.mkdir()
        (part / 'x').touch()
    assert (target / 'x').exists()
    with pytest.raises(OSError):
        with written_whole(target) as part:
            part.mkdir()
    assert (target / 'x').exists()
    assert list(tmp_path.iterdir()) == [target]
