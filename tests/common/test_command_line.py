"""Errors that a user can mend are a line, all others a traceback."""

import errno
import subprocess
import sys
from unittest.mock import patch

import pytest
from torch._utils import ExceptionWrapper

from tresnet_det import UserError
from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.training.hooks import NonFiniteError


def tool(error):
    @tell_user_errors
    def main():
        raise error

    return main


def from_another_process(error):
    """As torch's data loader hands errors on."""
    try:
        raise error
    except UserError:
        wrapper = ExceptionWrapper(where='in DataLoader worker process 0')
    with pytest.raises(UserError) as told:
        wrapper.reraise()
    return told.value


@pytest.mark.parametrize('kind', [UserError, NonFiniteError])
def test_told_in_one_line(kind, monkeypatch):
    monkeypatch.delenv('TRESNET_DET_DEBUG', raising=False)
    with pytest.raises(SystemExit) as stop:
        tool(kind('a.png is bad: mend it'))()
    assert stop.value.code == 'error: a.png is bad: mend it'
    with pytest.raises(SystemExit) as stop:
        tool(from_another_process(kind('a.png is bad: mend it')))()
    assert stop.value.code == 'error: a.png is bad: mend it'


def test_ctrl_c_is_no_error(capsys):
    with pytest.raises(SystemExit) as stop:
        tool(KeyboardInterrupt())()
    assert stop.value.code == 130
    assert capsys.readouterr().err == 'stopped by Ctrl-C\n'


@pytest.mark.parametrize('lines', [3, 100_000])
def test_output_cut_off_is_no_error(lines):
    """Within main, and when what is left is written at its end."""
    code = (
        'import sys\n'
        'from tresnet_det.common.command_line import tell_user_errors\n'
        'print("imported", file=sys.stderr, flush=True)\n'
        'sys.stdin.read()\n'
        f'tell_user_errors(lambda: [print("x" * 100) for _ in range({lines})])()'
    )
    process = subprocess.Popen(
        [sys.executable, '-W', 'ignore', '-c', code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    # mmdet of the maintained fork prints when it is imported.
    assert process.stderr.readline() == b'imported\n'
    process.stdout.close()
    process.stdin.close()
    assert process.stderr.read() == b''
    assert process.wait() == 141


def test_no_output_at_all():
    """As under `tool >&-`: Python has no sys.stdout then."""
    with patch.object(sys, 'stdout', None):
        assert tell_user_errors(lambda: 'done')() == 'done'
        with pytest.raises(BrokenPipeError):
            tool(BrokenPipeError())()


def test_other_pipes_keep_their_traceback():
    with pytest.raises(BrokenPipeError):
        tool(BrokenPipeError())()


def test_paths_are_told():
    with pytest.raises(SystemExit, match='no/such/file'):
        tell_user_errors(open)('no/such/file')


def test_full_disks_are_told():
    with pytest.raises(SystemExit, match='No space left on device: .a.txt'):
        tool(OSError(errno.ENOSPC, 'No space left on device', 'a.txt'))()


@pytest.mark.parametrize(
    'error',
    [ValueError('x'), KeyError('x'), OSError(errno.EIO, 'x'), ConnectionError('x')],
)
def test_others_keep_their_traceback(error):
    with pytest.raises(type(error)):
        tool(error)()


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setenv('TRESNET_DET_DEBUG', '1')
    with pytest.raises(UserError):
        tool(UserError('x'))()
    monkeypatch.setenv('TRESNET_DET_DEBUG', '0')
    with pytest.raises(SystemExit):
        tool(UserError('x'))()


def test_nothing_wrong_nothing_changed():
    assert tell_user_errors(lambda a, b=2: a + b)(1) == 3
