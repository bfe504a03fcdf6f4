"""Files and folders appear whole or not at all."""

import errno
import os
import stat
from unittest.mock import patch

import pytest

from tresnet_det.common.atomic import check_writable, written_whole
from tresnet_det.common.errors import UserError


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


def test_failure_leaves_no_new_folder(tmp_path):
    (tmp_path / 'old').mkdir()
    for folder in ('old', 'new', 'old/a/b'):
        with pytest.raises(KeyError):
            with written_whole(tmp_path / folder / 'a.txt') as part:
                part.write_text('half')
                raise KeyError
    assert [*tmp_path.rglob('*')] == [tmp_path / 'old']


def test_whether_a_place_can_be_written_leaves_nothing_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in ('a.txt', 'new/deep/a.txt', tmp_path / 'new' / 'a.txt'):
        check_writable(place)
    assert not [*tmp_path.iterdir()]
    (tmp_path / 'file').touch()
    for place in ('file/a.txt', 'file/deep/a.txt'):
        with pytest.raises(UserError, match='nothing can be written into .*file'):
            check_writable(place)


def test_no_right_to_write(tmp_path):
    locked = tmp_path / 'locked'
    locked.mkdir()
    locked.chmod(stat.S_IREAD | stat.S_IEXEC)
    user = os.geteuid()
    if user == 0:  # who may write everywhere
        os.seteuid(65534)
    try:
        for place in (locked / 'a.txt', locked / 'new' / 'a.txt'):
            with pytest.raises(UserError, match='written into .*: Permission denied'):
                check_writable(place)
    finally:
        os.seteuid(user)


def test_data_reach_the_disk_before_the_name(tmp_path):
    """Else a loss of power leaves the new name without its data."""
    events = []

    def synced(descriptor):
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        events.append(('folder' if folder else 'file', target.exists()))
        if folder:
            raise OSError(errno.EINVAL, 'a system that cannot')

    target = tmp_path / 'a.txt'
    with patch('os.fsync', synced), written_whole(target) as part:
        part.write_text('text')
    assert events == [('file', False), ('folder', True)]


def test_data_that_do_not_reach_the_disk_replace_nothing(tmp_path):
    target = tmp_path / 'a.txt'
    target.write_text('old')
    error = OSError(errno.EDQUOT, 'Disk quota exceeded')
    with pytest.raises(OSError, match='quota'), patch('os.fsync', side_effect=error):
        with written_whole(target) as part:
            part.write_text('new')
    assert target.read_text() == 'old'


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
