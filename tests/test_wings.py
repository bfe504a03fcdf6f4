"""Imports run from a higher wing to a lower one; see wings.py."""

from pathlib import Path

import pytest
from wings import PACKAGE, WINGS, Import, arrows, imports

STACK = {'mmcv', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg'}
# File -> what it must do without, and the files that it imports too. The norm
# and the layers serve whoever has torch; the runtime is for machines that have
# neither.
FREE = {
    **dict.fromkeys(
        (
            'models/layers.py',
            'models/abn.py',
            'models/abn_functional.py',
            'models/abn_sync.py',
            'models/bypass.py',
            'models/conv_norm.py',
            'models/derivatives.py',
            'models/fold_guard.py',
            'models/network.py',
            'models/tracing.py',
        ),
        STACK,
    ),
    'deployment/runtime.py': {*STACK, 'torch', 'torchvision'},
}


def wrong(package: Path) -> list[str]:
    """Imports that run upwards, along a floor, or to no wing."""
    return [
        f'{one.file}:{one.line} imports {one.name}'
        for (wing, other), found in arrows(package).items()
        if wing not in WINGS
        or other not in WINGS
        or WINGS[wing].floor <= WINGS[other].floor
        for one in found
    ]


def not_free(package: Path) -> list[str]:
    """Imports of what a file must do without, by itself or by another file."""
    return [
        f'{name}: {one.file}:{one.line} imports {one.name}'
        for name, without in FREE.items()
        for one in reached(package, name)
        if one.name.split('.')[0] in without
    ]


def reached(package: Path, name: str) -> list[Import]:
    """The imports of a file and of the files of the package that it imports."""
    found: list[Import] = []
    files = [Path(name)]
    for file in files:  # grows
        mine = [one for one in imports(package) if one.file == file]
        found += mine
        for one in mine:
            parts = one.name.split('.')
            for end in (len(parts), len(parts) - 1):  # a module, or a name in it
                inner = Path(*parts[1:end]).with_suffix('.py') if end > 1 else file
                if parts[0] == package.name and inner not in files:
                    files += [inner] if (package / inner).is_file() else []
    return found


def test_imports_run_downwards():
    assert arrows()
    assert wrong(PACKAGE) == []


def test_every_folder_is_a_wing():
    folders = {
        path.name
        for path in PACKAGE.iterdir()
        if path.is_dir() and any(path.glob('*.py'))
    }
    assert folders <= {*WINGS}
    assert {'models', 'training'} <= folders


def test_at_most_four_files_beside_the_wings():
    assert len([*PACKAGE.glob('*.py')]) <= 4


def test_what_must_be_free_of_the_stack_is():
    assert {one.file.as_posix() for one in imports()} >= {*FREE} - {
        'deployment/runtime.py'
    }
    assert not_free(PACKAGE) == []


@pytest.mark.parametrize(
    'file, line',
    [
        ('weights/a.py', 'from ..models.backbone import TResNet'),
        ('weights/a.py', 'from .. import models'),
        ('weights/a.py', 'def f():\n    import tresnet_det.training'),
        ('weights/a.py', 'from .. import __version__'),
        ('weights/deep/a.py', 'from ...models import backbone'),
        ('data/a.py', 'from ..models import abn'),
        ('distillation/a.py', 'from ..deployment import export'),
        ('elsewhere/a.py', 'from ..common import errors'),
    ],
)
def test_an_arrow_upwards_is_found(tmp_path, file, line):
    path = tmp_path / 'tresnet_det' / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert len(wrong(tmp_path / 'tresnet_det')) == 1


@pytest.mark.parametrize(
    'file, line, found',
    [
        ('models/layers.py', 'from mmengine.model import BaseModule', 1),
        ('models/layers.py', 'import torch', 0),
        ('models/backbone.py', 'import mmengine', 0),
        ('deployment/runtime.py', 'import torch', 1),
        ('deployment/runtime.py', 'from ..common.errors import UserError', 0),
        ('deployment/runtime.py', 'import numpy, onnxruntime, cv2', 0),
    ],
)
def test_what_is_not_free_is_found(tmp_path, file, line, found):
    path = tmp_path / 'tresnet_det' / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert len(not_free(tmp_path / 'tresnet_det')) == found


def test_what_is_not_free_is_found_behind_another_file(tmp_path):
    package = tmp_path / 'tresnet_det'
    for folder in ('models', 'common'):
        (package / folder).mkdir(parents=True)
    (package / 'models' / 'abn.py').write_text('from ..common.errors import UserError')
    (package / 'common' / 'errors.py').write_text('def f():\n    import mmcv.ops')
    assert not_free(package) == ['models/abn.py: common/errors.py:2 imports mmcv.ops']
