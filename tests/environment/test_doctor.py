"""The doctor names each known breakage and its remedy."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mmcv
import mmdet
import pytest
import torch
from mmengine.utils import digit_version

from tresnet_det.environment import doctor
from tresnet_det.environment.doctor_checks import REGISTERED, Facts, examine
from tresnet_det.environment.memory import free_ram
from tresnet_det.environment.tested import TESTED
from tresnet_det.weights.safe_globals import allow_mmengine_checkpoints

FORK = digit_version(mmdet.__version__) >= digit_version('3.4')
OPENMMLAB = {name: [name] for name in ('mmengine', 'mmcv', 'mmdet')}


@pytest.fixture(scope='module')
def facts() -> Facts:
    """This environment, on a machine with enough room and no GPU."""
    return dataclasses.replace(
        doctor.collect(None), gpus=0, disk=1e12, memory=1e12, shared=1e12
    )


def with_modules(facts: Facts, **modules: object) -> Facts:
    return dataclasses.replace(
        facts,
        modules={
            **facts.modules,
            **{name.replace('__', '.'): module for name, module in modules.items()},
        },
    )


def fake_torch(facts: Facts, gpus: int = 0, **parts: object) -> SimpleNamespace:
    real = facts.modules['torch']
    named = SimpleNamespace(name='H100', total_memory=80e9)
    cuda = SimpleNamespace(
        is_available=lambda: gpus > 0,
        device_count=lambda: gpus,
        get_device_properties=lambda index: named,
        nccl=SimpleNamespace(version=lambda: (2, 30, 7)),
    )
    return SimpleNamespace(
        **{
            **dict(
                __version__=real.__version__,
                tensor=real.tensor,
                ones=real.ones,
                zeros=real.zeros,
                save=real.save,
                load=real.load,
                cuda=cuda,
                version=SimpleNamespace(cuda='13.0'),
                distributed=SimpleNamespace(
                    is_available=lambda: True, is_nccl_available=lambda: True
                ),
            ),
            **parts,
        }
    )


@pytest.fixture(autouse=True)
def allowed() -> None:
    """As after the import: the fork strikes out what it allowed to read."""
    allow_mmengine_checkpoints()


def problems(facts: Facts) -> dict[str, str]:
    return {
        finding.name: f'{finding.found} -> {finding.remedy}'
        for finding in examine(facts)
        if finding.remedy is not None
    }


def test_nothing_wrong_here(facts: Facts) -> None:
    assert problems(facts) == {}
    text = doctor.screen(examine(facts))
    assert text.endswith('\nno problems found')
    assert len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= 79


@pytest.mark.skipif(FORK, reason='the fork takes every mmcv of its own')
def test_mmcv_2_2_beside_mmdet_3_3(
    facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is mmdet's own."""
    monkeypatch.setattr(mmcv, '__version__', '2.2.0')
    monkeypatch.delitem(sys.modules, 'mmdet')
    broken = with_modules(facts, mmdet=doctor._imported('mmdet'))
    assert 'MMCV==2.2.0 is used' in problems(broken)['mmdet']
    assert 'pip install "mmcv>=2.1,<2.2"' in problems(broken)['mmdet']


@pytest.mark.parametrize(
    'error',
    [
        ModuleNotFoundError("No module named 'mmcv._ext'"),
        ImportError('_ext.so: undefined symbol: _ZN3c106detail14torchCheckFail'),
    ],
)
def test_mmcv_without_ops_or_built_for_another_torch(
    facts: Facts, error: Exception
) -> None:
    found = problems(with_modules(facts, mmcv__ops=error))
    assert list(found) == ['mmcv ops']
    assert str(error) in found['mmcv ops']
    assert 'MMCV_WITH_OPS=1' in found['mmcv ops']


def test_ops_that_import_and_fail(facts: Facts) -> None:
    def nms(*arguments: object) -> None:
        raise RuntimeError('nms_impl: implementation for device cpu not found')

    ops = SimpleNamespace(nms=nms)
    assert 'nms_impl' in problems(with_modules(facts, mmcv__ops=ops))['mmcv ops']


@pytest.mark.parametrize('fork', [False, True])
def test_setuptools_82_has_no_pkg_resources(facts: Facts, fork: bool) -> None:
    providers = {name: [f'onedl-{name}'] for name in OPENMMLAB} if fork else OPENMMLAB
    broken = dataclasses.replace(
        with_modules(facts, pkg_resources=ModuleNotFoundError('pkg_resources')),
        providers=providers,
    )
    found = problems(broken)
    if fork:
        assert found == {}
    else:
        assert 'pip install "setuptools<81"' in found['pkg_resources']


@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.6'),
    reason='this torch reads everything by default',
)
def test_torch_without_the_allow_list(facts: Facts) -> None:
    torch.serialization.clear_safe_globals()
    try:
        found = problems(facts)
    finally:
        allow_mmengine_checkpoints()
    assert list(found) == ['mm checkpoints']
    assert "imports=['tresnet_det']" in found['mm checkpoints']
    assert problems(facts) == {}


def test_missing_registry_names(facts: Facts) -> None:
    broken = dataclasses.replace(
        facts, registered={'mmengine': REGISTERED, 'mmdet': REGISTERED[:2]}
    )
    found = problems(broken)
    assert list(found) == ['tresnet_det']
    assert 'TResNet in mmdet' in found['tresnet_det']
    assert 'mmengine' not in found['tresnet_det']
    assert 'custom_imports' in found['tresnet_det']
    assert (
        'anything' in problems(dataclasses.replace(facts, registered={}))['tresnet_det']
    )


@pytest.mark.parametrize(
    'providers',
    [
        {**OPENMMLAB, 'mmcv': ['mmcv', 'onedl-mmcv']},
        {**OPENMMLAB, 'mmcv': ['mmcv', 'mmcv-lite']},
        {**OPENMMLAB, 'mmdet': ['onedl-mmdetection']},
    ],
)
def test_two_stacks_in_one_place(facts: Facts, providers: dict) -> None:
    found = problems(dataclasses.replace(facts, providers=providers))
    assert list(found) == ['stack']
    assert 'fresh environment' in found['stack']
    for names in providers.values():
        assert all(name in found['stack'] for name in names)


def test_numpy_2_beside_torch_2_1(facts: Facts) -> None:
    def numpy() -> None:
        raise RuntimeError('Numpy is not available')

    torch = fake_torch(
        facts, __version__='2.1.2', zeros=lambda size: SimpleNamespace(numpy=numpy)
    )
    found = problems(with_modules(facts, torch=torch))
    assert list(found) == ['torch to numpy']
    assert 'pip install "numpy<2"' in found['torch to numpy']


@pytest.mark.parametrize('name', ['disk', 'memory', 'shared'])
def test_no_room(facts: Facts, name: str) -> None:
    found = problems(dataclasses.replace(facts, **{name: 1e8}))
    assert list(found) == [name]
    assert found[name].startswith('0.1 GB free -> ')
    assert not problems(dataclasses.replace(facts, **{name: None}))


def test_room_that_cannot_be_found_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Systems without /proc, and a folder that is gone."""
    gone = str(tmp_path / 'gone')
    assert doctor._free_disk(gone) is None
    assert doctor._free_disk(gone, str(tmp_path)) == pytest.approx(
        shutil.disk_usage(tmp_path).free, rel=0.1
    )
    assert free_ram() is None or free_ram() > 0
    for text in ('', 'MemTotal: 1 kB', 'no table'):
        monkeypatch.setattr(Path, 'read_text', lambda path, text=text: text)
        assert free_ram() is None
    monkeypatch.setattr(Path, 'read_text', lambda path: open('/no/such'))
    assert free_ram() is None


def test_gpu_that_torch_does_not_see(facts: Facts) -> None:
    broken = with_modules(dataclasses.replace(facts, gpus=2), torch=fake_torch(facts))
    assert list(problems(broken)) == ['gpus']
    assert 'nvidia-smi' in problems(broken)['gpus']


def test_gpus_without_ops_and_nccl(facts: Facts) -> None:
    torch = fake_torch(facts, gpus=2)
    ops = SimpleNamespace(
        nms=lambda *arguments: None, get_compiling_cuda_version=lambda: 'not available'
    )
    broken = with_modules(
        dataclasses.replace(facts, gpus=2), torch=torch, mmcv__ops=ops
    )
    assert list(problems(broken)) == ['mmcv ops']
    assert 'FORCE_CUDA=1' in problems(broken)['mmcv ops']
    text = doctor.screen(examine(broken))
    assert 'H100 80 GB, H100 80 GB' in text and '2.30.7' in text
    torch.distributed.is_nccl_available = lambda: False
    assert set(problems(broken)) == {'mmcv ops', 'nccl'}


def test_ops_that_fail_on_the_gpu(facts: Facts) -> None:
    def nms(box: str, *arguments: object) -> None:
        if box == 'cuda':
            raise RuntimeError('no kernel image is available for execution')

    torch = fake_torch(
        facts,
        gpus=1,
        tensor=lambda values, device: device,
        ones=lambda size, device: device,
    )
    ops = SimpleNamespace(nms=nms, get_compiling_cuda_version=lambda: '12.1')
    found = problems(with_modules(facts, torch=torch, mmcv__ops=ops))
    assert list(found) == ['mmcv ops']
    assert 'nms fails on cuda: no kernel image' in found['mmcv ops']
    assert 'FORCE_CUDA=1' in found['mmcv ops']
    assert 'c++20' in found['mmcv ops']


@pytest.mark.parametrize(
    'name, module, says',
    [
        ('torch', SimpleNamespace(__version__='2.0.1'), 'wanted is torch>=2.1'),
        ('mmdet', SimpleNamespace(__version__='2.28.0'), 'wanted is mmdet>=3.3'),
        (
            'mmengine',
            ModuleNotFoundError("No module named 'mmengine'"),
            'does not import',
        ),
        (
            'mmcv',
            ImportError('libGL.so.1: cannot open shared object file'),
            'opencv-python-headless',
        ),
    ],
)
def test_versions_and_imports(
    facts: Facts, name: str, module: object, says: str
) -> None:
    assert says in problems(with_modules(facts, **{name: module}))[name]


def test_old_python(facts: Facts) -> None:
    assert (
        'Python 3.10' in problems(dataclasses.replace(facts, python='3.9.18'))['python']
    )


def test_only_what_was_tested_is_called_so(facts: Facts) -> None:
    def tested(**versions: str) -> str:
        modules = {
            name: SimpleNamespace(__version__=version)
            for name, version in versions.items()
        }
        return next(
            finding.found
            for finding in examine(with_modules(facts, **modules))
            if finding.name == 'tested'
        )

    for known in TESTED:
        mine = {**known.versions, 'torch': known.versions['torch'] + '+cu130'}
        assert tested(**mine) == f'{known.day}: {known.result}'
        for name in mine:
            assert 'not this' in tested(**{**mine, name: '2.99.0'})


def test_a_check_that_fails_hides_no_other(facts: Facts) -> None:
    findings = examine(with_modules(facts, torch=ImportError('libcudart')))
    assert len(findings) == len(examine(facts))
    assert {'torch', 'check_gpus'} <= {
        finding.name for finding in findings if finding.remedy is not None
    }


def test_runs_where_the_package_does_not_import(tmp_path: Path) -> None:
    (tmp_path / 'mmdet.py').write_text(
        "assert False, 'MMCV==2.2.0 is used but incompatible.'\n"
    )
    environ = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(
            [str(tmp_path), *os.environ.get('PYTHONPATH', '').split(os.pathsep)]
        ),
    )
    for command, status in (
        (['-m', 'tresnet_det.doctor'], 1),
        (['-c', 'import tresnet_det'], 1),
    ):
        done = subprocess.run(
            [sys.executable, *command],
            env=environ,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == status
        if command[0] == '-m':
            assert 'pip install "mmcv>=2.1,<2.2"' in done.stdout
            assert 'Traceback' not in done.stderr
            assert 'problems found' in done.stdout
        else:
            assert 'ImportError: tresnet_det needs mmdet' in done.stderr
