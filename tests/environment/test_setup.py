"""The set-up's decisions, without network and without a real .venv."""

import ast
import configparser
import datetime
import fcntl
import os
import sys
import sysconfig
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tresnet_det.environment.tested import TESTED, SuiteRun

ROOT = Path(__file__).resolve().parents[2]
SETUP = ROOT / 'tools' / 'setup'
sys.path.insert(0, str(SETUP))

import checks  # noqa: E402
import environment  # noqa: E402
import mmcv_wheel  # noqa: E402
import stacks  # noqa: E402
import steps  # noqa: E402
import test_stack as stack_tool  # noqa: E402
from stacks import PINNED, STACKS  # noqa: E402

NAME = 'mmcv-2.1.0-cp311-cp311-' + sysconfig.get_platform().replace('-', '_') + '.whl'


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        'XDG_CACHE_HOME': str(tmp_path / 'cache'),
        'FORCE_CUDA': '0',
        'PATH': os.environ['PATH'],
    }


def lay(folder: Path, name: str = NAME) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b'wheel')
    return folder / name


# Which wheel


def test_named_folder_then_cache_then_build(
    tmp_path: Path, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert mmcv_wheel.find_wheel(PINNED, environ) is None
    kept = lay(mmcv_wheel.cache_folder(PINNED, environ))
    assert mmcv_wheel.find_wheel(PINNED, environ) == kept
    environ['MMCV_WHEEL_DIR'] = str(tmp_path / 'named')
    assert mmcv_wheel.find_wheel(PINNED, environ) == kept
    assert f'no {NAME[:23]}' in capsys.readouterr().out  # the folder is empty
    named = lay(tmp_path / 'named')
    assert mmcv_wheel.find_wheel(PINNED, environ) == named


@pytest.mark.parametrize(
    'name',
    [
        NAME.replace('2.1.0', '2.2.0'),
        NAME.replace('cp311', 'cp312'),
        NAME.replace('linux', 'macosx'),
        NAME + '.123',
    ],
)
def test_wheel_for_something_else_is_left(name: str, environ: dict[str, str]) -> None:
    lay(mmcv_wheel.cache_folder(PINNED, environ), name)
    assert mmcv_wheel.find_wheel(PINNED, environ) is None


def test_cache_is_keyed_on_torch_and_cuda(environ: dict[str, str]) -> None:
    other = PINNED._replace(changes={'torch': '9.9.9'})
    folders = {
        mmcv_wheel.cache_folder(PINNED, environ),
        mmcv_wheel.cache_folder(other, environ),
        mmcv_wheel.cache_folder(PINNED, dict(environ, FORCE_CUDA='1')),
    }
    assert len(folders) == 3
    assert all(str(f).startswith(environ['XDG_CACHE_HOME']) for f in folders)


def test_cpp_flag(tmp_path: Path) -> None:
    source = tmp_path / 'setup.py'
    source.write_text("['-std=c++17'] + ['-std=c++17', '-std=c++14']")
    mmcv_wheel.use_cxx(source, 'c++20')
    assert source.read_text() == ("['-std=c++20'] + ['-std=c++20', '-std=c++14']")
    with pytest.raises(steps.SetupError, match='nowhere'):
        mmcv_wheel.use_cxx(source, 'c++20')


def test_keep_is_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel, cache = lay(tmp_path / 'built'), tmp_path / 'cache'

    def full_disk(_: str, part: str) -> None:
        Path(part).write_bytes(b'wh')
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(mmcv_wheel.shutil, 'copyfile', full_disk)
        mmcv_wheel.keep(wheel, cache)
    assert 'No space left' in capsys.readouterr().out
    assert not list(cache.iterdir())
    mmcv_wheel.keep(wheel, cache)
    assert [p.read_bytes() for p in cache.iterdir()] == [b'wheel']


def test_jobs(environ: dict[str, str]) -> None:
    assert 1 <= mmcv_wheel.jobs(environ) <= (os.cpu_count() or 1)
    assert mmcv_wheel.jobs(dict(environ, MAX_JOBS='7')) == 7


# What the machine lacks


def test_wrong_python() -> None:
    checks.check_python((3, 11, 4))
    with pytest.raises(steps.SetupError, match=r'3\.9.*3\.11.*PYTHON='):
        checks.check_python((3, 9, 1))
    with pytest.raises(steps.SetupError, match='lacks.*python3.11-venv'):
        checks.check_python((3, 11), modules=['no_such_module'])


def test_any_python_3_reads_the_set_up() -> None:
    """So that the line on the wrong version gets printed."""
    sources = list(SETUP.glob('*.py'))
    assert sources
    for source in sources:
        ast.parse(source.read_text(), feature_version=(3, 6))


def test_disk(tmp_path: Path) -> None:
    checks.check_disk(tmp_path, needed_gb=0)
    with pytest.raises(steps.SetupError, match='free, but .venv needs'):
        checks.check_disk(tmp_path, needed_gb=1e9)


def fake_compiler(folder: Path, script: str) -> dict[str, str]:
    folder.mkdir()
    for name in ('c++', 'gcc'):
        (folder / name).write_text(f'#!/bin/sh\n{script}\n')
        (folder / name).chmod(0o755)
    return {'PATH': str(folder)}


def test_compiler(tmp_path: Path) -> None:
    checks.check_compiler(fake_compiler(tmp_path / 'good', 'exit 0'))
    with pytest.raises(steps.SetupError, match='no compiler c.*MMCV_WHEEL'):
        checks.check_compiler({'PATH': str(tmp_path)})
    old = 'echo "error: no option -std=c++20" >&2; exit 1'
    with pytest.raises(steps.SetupError, match='no option.*g.. 11 or newer'):
        checks.check_compiler(fake_compiler(tmp_path / 'old', old))


# Commands


def test_failed_command_is_one_line(tmp_path: Path) -> None:
    script = (
        'echo "error: subprocess-exited-with-error"; '
        'echo "a.cpp:1: error: bad" >&2; echo end; exit 3'
    )
    with open(tmp_path / 'log', 'ab') as log:
        log.write(b'error: of an earlier command\n')
        log.flush()
        with pytest.raises(steps.SetupError) as caught:
            steps.run('building', ['sh', '-c', script], log, cost='hours')
    assert str(caught.value) == (
        f'building failed: a.cpp:1: error: bad (all it said: {log.name})'
    )


def test_killed_command_names_the_signal(tmp_path: Path) -> None:
    with open(tmp_path / 'log', 'ab') as log:
        with pytest.raises(steps.SetupError, match='ended by SIGKILL'):
            steps.run('building', ['sh', '-c', 'kill -9 $$'], log)


def test_progress(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ninja = b'ninja: 4\n  [1/4] c++ a.cpp\n  [2/4] c++ b.cpp\nwarning'
    assert steps.progress(ninja, 120) == (
        '2 of 4 files compiled, about 2.0 minutes left'
    )
    assert steps.progress(b'Installing a, b\n  Found old a\n', 1) == ('Installing a, b')
    assert steps.progress(b'', 1) == ''
    monkeypatch.setattr(steps, 'TELL_EVERY', 0.05)
    with open(tmp_path / 'log', 'ab') as log:
        steps.run('waiting', ['sh', '-c', 'echo Collecting torch; sleep 0.5'], log)
    assert 'Collecting torch' in capsys.readouterr().out


# .venv


def test_digest_follows_pins_and_requirements_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins, settings = tmp_path / 'pins', tmp_path / 'setup.cfg'
    monkeypatch.setattr(stacks, 'PINS', pins)

    def digest(pin: str, wanted: str, width: int, venv: str = '.venv') -> str:
        pins.write_text(f'# a comment\n{pin}\n')
        settings.write_text(
            '[options]\ninstall_requires = '
            f'{wanted}\n[flake8]\nmax_line_length = {width}\n'
        )
        return environment.digest(PINNED, settings, Path(venv))

    base = digest('a==1', 'a', 79)
    assert digest('a==1', 'a', 99) == base
    assert (
        len(
            {
                base,
                digest('a==2', 'a', 79),
                digest('a==1', 'b', 79),
                digest('a==1', 'a', 79, 'moved/.venv'),
            }
        )
        == 4
    )


def test_only_a_finished_environment_is_ready(tmp_path: Path) -> None:
    venv = tmp_path / '.venv'
    environment.begin(venv)
    assert not environment.is_ready(venv, 'hash')
    (venv / environment.STAMP).write_text('hash')
    assert environment.is_ready(venv, 'hash')
    assert not environment.is_ready(venv, 'new hash')
    (venv / 'half-copied').touch()
    environment.begin(venv)
    assert [p.name for p in venv.iterdir()] == [environment.STAMP]


def test_foreign_environment_is_left(tmp_path: Path) -> None:
    venv = tmp_path / '.venv'
    venv.mkdir()
    (venv / 'mine').touch()
    with pytest.raises(steps.SetupError, match='not made by `make setup`'):
        environment.begin(venv)
    assert (venv / 'mine').exists()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose set-up installs nothing."""
    (tmp_path / 'setup.cfg').write_text('[options]\n')
    monkeypatch.setattr(environment, 'prove', lambda python: 'all import')
    return tmp_path


def test_failure_leaves_nothing_to_trust(
    root: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    attempts = []

    def fill(stack: object, root: Path, venv: Path, *_: object) -> None:
        attempts.append(venv)
        environment.begin(venv)
        if len(attempts) == 1:
            raise steps.SetupError('installing torch failed')

    monkeypatch.setattr(environment, 'fill', fill)
    with pytest.raises(steps.SetupError, match='torch failed'):
        environment.set_up(root, environ)
    environment.set_up(root, environ)
    environment.set_up(root, environ)
    assert len(attempts) == 2


def test_second_set_up_waits_for_the_first(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It finds the environment ready then, and makes nothing."""
    venv = root / '.venv'
    want = environment.digest(PINNED, root / 'setup.cfg', venv)

    def flock(log: object, operation: int) -> None:
        if operation & fcntl.LOCK_NB:
            raise BlockingIOError
        environment.begin(venv)
        (venv / environment.STAMP).write_text(want)

    monkeypatch.setattr(fcntl, 'flock', flock)
    environment.set_up(root, environ)
    assert 'waiting' in capsys.readouterr().out
    assert environment.is_ready(venv, want)


def test_no_compiler_stops_before_anything_is_made(
    root: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], tmp_path: Path
) -> None:
    monkeypatch.setattr(environment, 'check_python', lambda: None)
    environ['PATH'] = str(tmp_path)
    with pytest.raises(steps.SetupError, match='no compiler'):
        environment.set_up(root, environ)
    assert not (root / '.venv').exists()


def test_proof_names_what_does_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, 'PROOF', 'import no_such_module')
    with pytest.raises(steps.SetupError, match='No module.*no_such_module'):
        environment.prove(Path(sys.executable))
    with pytest.raises(steps.SetupError, match='No such file'):
        environment.prove(Path('/nowhere/bin/python'))


# Stacks


@pytest.mark.parametrize('stack', STACKS.values(), ids=STACKS)
def test_every_requirement_is_pinned(stack: stacks.Stack) -> None:
    parser = configparser.ConfigParser()
    parser.read(str(ROOT / 'setup.cfg'))
    wanted = (
        parser['options']['install_requires']
        + parser['options.extras_require'][stack.extra]
        + parser['options.extras_require']['test']
        + parser['options.extras_require']['docs']
    )
    pins, required = stack.pins(), {stack.mmcv, 'setuptools', 'torchvision'}
    for line in filter(None, wanted.split('\n')):
        requirement = Requirement(line)
        required.add(requirement.name)
        assert requirement.specifier.contains(pins[requirement.name])
    assert required <= set(pins)


def test_a_stack_is_the_pinned_one_but_for_its_changes() -> None:
    for stack in STACKS.values():
        assert {
            name
            for name, version in stack.pins().items()
            if PINNED.pins().get(name) != version
        } == set(stack.changes)
    assert 'torch==2.1.2\n' in STACKS['torch21'].constraints()
    assert 'torch==2.14.1\n' in PINNED.constraints()


def test_wheel_of_the_fork_is_another(environ: dict[str, str]) -> None:
    """The file's name begins otherwise, so neither is taken for the other."""
    fork, named = STACKS['onedl'], NAME.replace('mmcv-2.1.0', 'onedl_mmcv-')
    lay(mmcv_wheel.cache_folder(fork, environ))
    assert mmcv_wheel.find_wheel(fork, environ) is None
    name = named.replace('mmcv-', f'mmcv-{fork.pins()["onedl-mmcv"]}')
    kept = lay(mmcv_wheel.cache_folder(fork, environ), name)
    assert mmcv_wheel.find_wheel(fork, environ) == kept
    lay(mmcv_wheel.cache_folder(PINNED, environ), name)
    assert mmcv_wheel.find_wheel(PINNED, environ) is None


@pytest.mark.parametrize('fails', [False, True])
def test_suite_of_a_stack(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    fails: bool,
) -> None:
    asked = []

    def set_up(root: Path, environ: object, *what: object) -> Path:
        asked.extend(what)
        return Path(sys.executable)

    suite = tmp_path / 'test_it.py'
    suite.write_text(
        'import pytest\n\n'
        'def test_one(): pass\n\n'
        f'def test_two(): assert not {fails}\n\n'
        '@pytest.mark.skip\n'
        'def test_three(): pass\n'
    )
    monkeypatch.setattr(stack_tool, 'set_up', set_up)
    status = stack_tool.main(
        [
            'torch21',
            '--into',
            str(tmp_path),
            str(suite),
            '-n0',
            '--rootdir',
            str(tmp_path),
        ]
    )
    assert status == int(fails)
    assert asked == [STACKS['torch21'], tmp_path / '.venv-torch21']
    row = capfd.readouterr().out.splitlines()[-1]
    assert row.startswith('| torch21 | torch 2.1.2, numpy 1.26.4, mmeng')
    assert row.endswith(
        '| 1 passed, 1 skipped, 1 failed |'
        if fails
        else '| 2 passed, 1 skipped, 0 failed |'
    )


@pytest.mark.parametrize('tested', TESTED, ids=lambda tested: tested.stack)
def test_what_was_tested_is_what_is_set_up(tested: SuiteRun) -> None:
    day = datetime.date.fromisoformat(tested.day)
    assert str(tested) == stack_tool.row(STACKS[tested.stack], tested.result, day)


def test_a_suite_that_does_not_start_has_not_passed() -> None:
    status, result = stack_tool.run_suite(Path(sys.executable), ['--nonsense'])
    assert status and result == 'the suite did not run'
