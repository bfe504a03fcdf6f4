"""Where the stack is broken, each tool answers with one line.

The stack is a folder of stubs that come before the packages installed: a tool
gets no further than the check of their versions.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = sorted(path.name for path in (ROOT / 'tools').glob('*.py'))
VERSIONS = dict(torch='2.14.1', mmengine='0.10.7', mmcv='2.1.0', mmdet='3.3.0')
# What tools import of it before they come to this package.
PARTS = ('config', 'hub')


@pytest.fixture
def run(tmp_path):
    """Runs a program with stubs of these versions; None is not installed."""

    def run(*command, debug='0', **versions):
        for name, version in {**VERSIONS, **versions}.items():
            folder = tmp_path / name
            folder.mkdir()
            (folder / '__init__.py').write_text(
                f'__version__ = {version!r}'
                if version
                else f'raise ModuleNotFoundError("No module named {name!r}")'
            )
            for part in PARTS:
                (folder / f'{part}.py').write_text('def __getattr__(name): return None')
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            text=True,
            cwd=tmp_path,
            capture_output=True,
            env=dict(
                os.environ, PYTHONPATH=f'{tmp_path}:{ROOT}', TRESNET_DET_DEBUG=debug
            ),
        )
        assert not done.stdout
        return done

    return run


def told(done, *words):
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith('error: tresnet_det needs ')
    for word in words:
        assert word in line


@pytest.mark.parametrize('tool', TOOLS)
def test_operators_missing(run, tool):
    told(
        run(ROOT / 'tools' / tool),
        'compiled operators of mmcv',
        "No module named 'mmcv._ext'",
        '`make setup`',
        'mmcv==2.1.0',
        'c++20',
    )


@pytest.mark.parametrize(
    'versions, words',
    [
        (dict(torch='2.0.1'), ['torch>=2.1, but 2.0.1', 'pip install "torch']),
        (dict(mmdet='2.28.0'), ['mmdet>=3.3,<4, but 2.28.0']),
        (dict(mmdet=None), ["No module named 'mmdet'", 'tresnet_det[openmmlab]']),
        (dict(mmengine=None), ["No module named 'mmengine'"]),
    ],
)
@pytest.mark.parametrize('tool', ['train.py', 'misc/make_demo_data.py'])
def test_wrong_versions(run, tool, versions, words):
    told(run(ROOT / 'tools' / tool, **versions), *words)


def test_a_tool_that_came_with_the_package(run):
    told(
        run(ROOT / 'tresnet_det' / '.mim' / 'tools' / 'train.py', torch='2.0.1'),
        'torch>=2.1',
    )


@pytest.mark.parametrize(
    'program, debug', [(ROOT / 'tools' / 'train.py', '1'), ('own.py', '0')]
)
def test_others_get_the_error(run, tmp_path, program, debug):
    (tmp_path / 'own.py').write_text('import tresnet_det')
    done = run(program, torch='2.0.1', debug=debug)
    assert done.returncode == 1
    assert done.stderr.startswith('Traceback')
    assert 'ImportError: tresnet_det needs torch>=2.1' in done.stderr
