"""The package, built as a wheel and installed elsewhere, needs no source."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_demo import small_demo

from tresnet_det.data.demo_data import make_demo_data

ROOT = Path(__file__).parents[1]
SOURCE = (
    'LICENSE',
    'MANIFEST.in',
    'model-index.yml',
    'pyproject.toml',
    'setup.cfg',
    'README.md',
    'configs',
    'tools',
    'tresnet_det',
)

# A config of the user's own, on one of ours and with a part of it changed.
CONFIG = """
_base_ = 'tresnet_det::demo/fcos_tresnet-m_fpn_demo.py'
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (96, 96)
"""
SCRIPT = """
import json
import sys
import tresnet_det
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope

init_default_scope('mmdet')
cfg = Config.fromfile('user.py')
transforms = Compose(cfg.train_pipeline).transforms
print(json.dumps(dict(
    package=tresnet_det.__file__,
    scale=transforms[2].scale,
    transform=type(transforms[-1]).__module__,
    arch=get_config('tresnet_det::mask_rcnn/'
                    'mask-rcnn_tresnet-v2_l_fpn_1x_coco.py').model.backbone.arch,
)))
"""
# A module of the user's own: where the package was imported from.
WITNESS = """
import atexit
import pathlib
import sys

atexit.register(lambda: pathlib.Path('imported').write_text('\\n'.join(
    module.__file__ for name, module in sys.modules.items()
    if name.partition('.')[0] == 'tresnet_det')))
"""


def run(*command, cwd, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        text=True,
        env=dict(os.environ, **environment),
        capture_output=True,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """Folder of a fresh install; its source is gone.

    A copy is built: setuptools writes into the source, and takes into the
    wheel what an earlier build left there.
    """
    source, target = (tmp_path_factory.mktemp(name) for name in ('source', 'site'))
    for name in SOURCE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    pip = '-m', 'pip', '-q', '--disable-pip-version-check'
    offline = '--no-index', '--no-deps'
    run(*pip, 'wheel', '--no-build-isolation', *offline, '.', cwd=source)
    (wheel,) = source.glob('*.whl')
    run(*pip, 'install', *offline, '--target', target, wheel, cwd=target)
    shutil.rmtree(source)
    return target


def test_brings_configs_and_tools(installed):
    mim = installed / 'tresnet_det' / '.mim'
    tools = ROOT / 'tools'
    expected = [
        ROOT / 'model-index.yml',
        *(
            path
            for path in [*tools.rglob('*.py'), *tools.rglob('*.sh')]
            if tools / 'setup' not in path.parents
        ),
        *(
            path
            for path in ROOT.glob('configs/**/*')
            if path.suffix in ('.py', '.yml', '.md')
        ),
    ]
    files = {
        path.relative_to(mim): path
        for path in mim.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }
    assert not any(path.is_symlink() for path in mim.rglob('*'))
    assert {*files} == {path.relative_to(ROOT) for path in expected}
    for path in expected:
        assert files[path.relative_to(ROOT)].read_bytes() == path.read_bytes()


def test_configs_resolve_by_name(installed, tmp_path):
    (tmp_path / 'user.py').write_text(CONFIG)
    printed = run('-W', 'ignore', '-c', SCRIPT, cwd=tmp_path, PYTHONPATH=str(installed))
    found = json.loads(printed.splitlines()[-1])
    assert Path(found['package']).parents[1] == installed
    assert found['scale'] == [96, 96]
    assert found['transform'].startswith('mmdet.')
    assert found['arch'] == 'v2_l'


def test_trains(installed, tmp_path):
    """A config by name, with the tool that came along, outside the tree."""
    data, work_dir = tmp_path / 'data', tmp_path / 'work_dir'
    make_demo_data(data, 8, 2, size=64)
    (tmp_path / 'witness.py').write_text(WITNESS)
    (tmp_path / 'user.py').write_text(
        small_demo(
            Path('tresnet_det::demo/fcos_tresnet-m_fpn_demo.py'),
            data,
            work_dir,
            epochs=1,
        )
        + "custom_imports = dict(imports=['witness'])\n"
    )
    tool = installed / 'tresnet_det' / '.mim' / 'tools' / 'train.py'
    printed = run(
        tool, 'user.py', cwd=tmp_path, PYTHONPATH=f'{installed}{os.pathsep}{tmp_path}'
    )
    assert 'coco/bbox_mAP' in printed
    assert (work_dir / 'iter_2.pth').exists()
    imported = (tmp_path / 'imported').read_text().splitlines()
    assert len(imported) > 10
    assert all(installed in Path(path).parents for path in imported)


@pytest.mark.long
def test_configs_resolve_in_the_source_tree():
    printed = run(
        '-W',
        'ignore',
        '-c',
        'import tresnet_det\n'
        'from mmengine.hub import get_config\n'
        "print(get_config('tresnet_det::fcos/fcos_tresnet-m_fpn_1x_coco.py')"
        '.filename)',
        cwd='/',
    )
    path = Path(printed.splitlines()[-1])
    assert path.samefile(ROOT / 'configs/fcos/fcos_tresnet-m_fpn_1x_coco.py')
