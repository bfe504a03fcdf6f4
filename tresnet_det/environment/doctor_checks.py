"""What the doctor looks at, and how each known breakage shows.

A check takes the facts as its argument and imports nothing that may be
broken, so that every breakage can be shown to it without being installed.
"""

import importlib
import io
import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from .tested import TESTED
from .versions import OPERATORS, RANGES

__all__ = ['CHECKS', 'Facts', 'Finding', 'REGISTERED', 'examine']

REGISTERED = ('InPlaceABN', 'SyncInPlaceABN', 'TResNet', 'TResNetClassifier')
GB = 1e9
LEAST_DISK, LEAST_MEMORY, LEAST_SHARED = 5 * GB, 4 * GB, 0.5 * GB

FRESH = (
    'make a fresh environment and pip install "tresnet_det[openmmlab]" '
    'or "tresnet_det[onedl]" into it, one of the two'
)
IMPORT = (
    "have custom_imports = dict(imports=['tresnet_det'], "
    'allow_failed_imports=False) in the config; where tresnet_det does '
    'not import, mend that'
)
# What an error at import says -> what mends it; the first that fits.
REMEDIES = (
    ('pkg_resources', 'pip install "setuptools<81"'),
    (
        'MMCV==',
        'mmdet 3.3 refuses mmcv 2.2: pip install "mmcv>=2.1,<2.2", '
        'built for this torch; or take the fork, "tresnet_det[onedl]"',
    ),
    ('mmcv._ext', OPERATORS),
    ('undefined symbol', OPERATORS),
    ('libGL', 'pip install --force-reinstall opencv-python-headless'),
    ('umpy', 'torch before 2.3 and all built for NumPy 1 want: pip install "numpy<2"'),
)


class Finding(NamedTuple):
    """What a check found; where something is wrong, what mends it."""

    name: str
    found: str
    remedy: str | None = None


@dataclass(frozen=True)
class Facts:
    """All that the checks look at.

    Attributes:
        modules: Import name -> the module, or the error of importing it.
        failure: The error of importing this package.
        providers: Import name -> distributions that install it.
        registered: Name of a registry -> what is in it.
        gpus: GPUs that the operating system has.
        disk, memory, shared: Bytes free here, in RAM and in /dev/shm; None
            where that cannot be found out.
        python: Version of Python.
    """

    modules: Mapping[str, Any]
    failure: Exception | None
    providers: Mapping[str, Sequence[str]]
    registered: Mapping[str, Collection[str]]
    gpus: int
    disk: float | None
    memory: float | None
    shared: float | None
    python: str = platform.python_version()

    def version(self, name: str) -> str | None:
        return getattr(self.modules[name], '__version__', None)


Check = Callable[[Facts], Finding]


def remedy_of(error: Exception, default: str) -> str:
    """What mends a failed import, by its message."""
    return next((remedy for sign, remedy in REMEDIES if sign in str(error)), default)


def check_python(facts: Facts) -> Finding:
    old = Version(facts.python) < Version('3.10')
    return Finding('python', facts.python, 'use Python 3.10 or newer' if old else None)


def check_package(name: str, facts: Facts) -> Finding:
    """Whether a package imports, in a version that fits."""
    module, wanted = facts.modules[name], RANGES.get(name, '')
    if isinstance(module, Exception):
        return Finding(name, f'does not import: {module}', remedy_of(module, FRESH))
    version = str(facts.version(name))
    fits = SpecifierSet(wanted).contains(version, prereleases=True)
    return Finding(
        name, version, None if fits else f'wanted is {name}{wanted}: {FRESH}'
    )


def check_stack(facts: Facts) -> Finding:
    """OpenMMLab's packages and the fork's install the same folders."""
    owners = {
        name: sorted(set(facts.providers.get(name, ())))
        for name in ('mmengine', 'mmcv', 'mmdet')
    }
    found = ', '.join(
        ' and '.join(names) or f'no distribution of {name}'
        for name, names in owners.items()
    )
    if any(names[1:] for names in owners.values()):
        return Finding('stack', f'{found} lie over one another', FRESH)
    if len({names[0].startswith('onedl') for names in owners.values() if names}) > 1:
        return Finding('stack', f'{found}: parts of two stacks', FRESH)
    return Finding('stack', found)


def check_tested(facts: Facts) -> Finding:
    mine = {
        name: Version(facts.version(name) or '0').public for name in TESTED[0].versions
    }
    for tested in TESTED:
        if tested.versions == mine:
            return Finding('tested', f'{tested.day}: {tested.result}')
    return Finding('tested', 'not this combination (see the README)')


def check_numpy(facts: Facts) -> Finding:
    """torch built against NumPy 1 imports beside NumPy 2, and then fails."""
    try:
        facts.modules['torch'].zeros(1).numpy()
    except Exception as error:
        return Finding(
            'torch to numpy',
            f'fails: {error}',
            remedy_of(error, 'mend torch and numpy first'),
        )
    return Finding('torch to numpy', 'works')


def check_ops(facts: Facts) -> Finding:
    ops, torch = facts.modules['mmcv.ops'], facts.modules['torch']
    if isinstance(ops, Exception):
        return Finding('mmcv ops', f'do not import: {ops}', remedy_of(ops, OPERATORS))
    failure = _try_nms(ops, torch, 'cpu')
    if failure:
        return Finding('mmcv ops', failure, OPERATORS)
    cuda = ops.get_compiling_cuda_version()
    if torch.cuda.is_available():
        failure = (
            'for the CPU alone, but there is a GPU'
            if cuda == 'not available'
            else _try_nms(ops, torch, 'cuda')
        )
        if failure:
            return Finding(
                'mmcv ops',
                failure,
                f'with this GPU in the machine and its nvcc, FORCE_CUDA=1: {OPERATORS}',
            )
    return Finding('mmcv ops', f'work; compiled for CUDA: {cuda}')


def _try_nms(ops: Any, torch: Any, device: str) -> str | None:
    """Why it fails; a build for other GPUs fails only when it is run."""
    try:
        box = torch.tensor([[0.0, 0.0, 1.0, 1.0]], device=device)
        ops.nms(box, torch.ones(1, device=device), 0.5)
    except Exception as error:
        return f'import, but nms fails on {device}: {error}'
    return None


def check_gpus(facts: Facts) -> Finding:
    cuda = facts.modules['torch'].cuda
    if cuda.is_available():
        names = [
            f'{p.name} {p.total_memory / GB:.0f} GB'
            for p in map(cuda.get_device_properties, range(cuda.device_count()))
        ]
        return Finding('gpus', ', '.join(names))
    if facts.gpus:
        built = facts.modules['torch'].version.cuda
        return Finding(
            'gpus',
            f'{facts.gpus} there, but torch (for CUDA {built}) uses none',
            'compare nvidia-smi with CUDA_VISIBLE_DEVICES; renew the '
            "driver, or install a torch for this driver's CUDA",
        )
    return Finding('gpus', 'none: all runs on the CPU')


def check_nccl(facts: Facts) -> Finding:
    torch = facts.modules['torch']
    distributed, gpus = torch.distributed, torch.cuda.device_count()
    if distributed.is_available() and distributed.is_nccl_available():
        # Without a GPU its library is there, but answers no question.
        return Finding(
            'nccl',
            '.'.join(map(str, torch.cuda.nccl.version()))
            if gpus
            else 'in torch, without a GPU to use it',
        )
    return Finding(
        'nccl',
        'not in this torch',
        'several GPUs need a torch with NCCL, such as that of PyPI'
        if gpus > 1
        else None,
    )


def check_pkg_resources(facts: Facts) -> Finding:
    if not isinstance(facts.modules['pkg_resources'], Exception):
        return Finding('pkg_resources', 'there')
    if 'mmengine' in facts.providers.get('mmengine', ()):
        return Finding(
            'pkg_resources',
            'not there; mmengine 0.10 finds no package without it',
            'pip install "setuptools<81"',
        )
    return Finding('pkg_resources', 'not there, and not needed')


def check_weights_only(facts: Facts) -> Finding:
    """torch >= 2.6 reads what mmengine writes only with our allow-list."""
    torch = facts.modules['torch']
    try:
        buffer = importlib.import_module(
            'mmengine.logging.history_buffer'
        ).HistoryBuffer([1.0], [1])
        file = io.BytesIO()
        torch.save(buffer, file)
        file.seek(0)
        torch.load(file)
    except Exception as error:
        return Finding('mm checkpoints', f'cannot be read: {error}', IMPORT)
    return Finding('mm checkpoints', 'are read')


def check_registry(facts: Facts) -> Finding:
    if facts.failure is not None:
        return Finding(
            'tresnet_det',
            f'does not import: {facts.failure}',
            remedy_of(facts.failure, FRESH),
        )
    missing = [
        f'{name} in {registry}'
        for registry, known in facts.registered.items()
        for name in REGISTERED
        if name not in known
    ]
    if missing or not facts.registered:
        return Finding(
            'tresnet_det', f'not registered: {", ".join(missing) or "anything"}', IMPORT
        )
    return Finding('tresnet_det', 'imports, and all is registered')


def check_room(name: str, least: float, remedy: str, facts: Facts) -> Finding:
    free = getattr(facts, name)
    if free is None:
        return Finding(name, 'unknown')
    return Finding(
        name,
        f'{free / GB:.1f} GB free',
        None if free >= least else f'{least / GB:.1f} GB are wanted: {remedy}',
    )


CHECKS: Sequence[Check] = (
    check_python,
    *(partial(check_package, name) for name in ('numpy', *RANGES)),
    check_stack,
    check_tested,
    check_numpy,
    check_ops,
    check_gpus,
    check_nccl,
    check_pkg_resources,
    check_weights_only,
    check_registry,
    partial(
        check_room,
        'disk',
        LEAST_DISK,
        'delete old work_dirs, or train with --work-dir on another disk',
    ),
    partial(
        check_room,
        'memory',
        LEAST_MEMORY,
        'end other processes, or lower batch_size and num_workers',
    ),
    partial(
        check_room,
        'shared',
        LEAST_SHARED,
        'data loaders pass images '
        'through /dev/shm; docker run --shm-size=8g, or num_workers=0',
    ),
)


def examine(facts: Facts, checks: Sequence[Check] = CHECKS) -> list[Finding]:
    """Run all checks; one that fails itself is a finding, too."""
    findings = []
    for check in checks:
        try:
            findings.append(check(facts))
        except Exception as error:
            what = getattr(check, 'func', check).__name__
            findings.append(
                Finding(
                    what,
                    f'cannot be checked ({type(error).__name__}: {error})',
                    'mend what else is listed here first',
                )
            )
    return findings
