"""The report: sections in order of worth, each written as soon as it is measured."""

import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ...common.atomic import written_whole
from ...weights.archs import ARCHS
from ..benchmark import MIB, kept_bytes, peak_bytes, train_step
from .parity import LIMITS, compare_with_cpu
from .room import largest_batch, waits
from .speed import Mode, images_per_second, rate
from .subjects import Subject, subjects

__all__ = ['Plan', 'write_gpu_report']

GIB = 2**30


class Plan(NamedTuple):
    """How much is measured.

    Attributes:
        device: A CUDA device, or the CPU for a short form that shows the tool works.
        minutes: After so long nothing new is begun; what is left out is named.
        size: Side of the images of a backbone.
        batch: Images of a step of a backbone.
        detector: Height and width of the images of a backbone in a detector.
        seconds: How long each figure is timed; 0 for one step.
        memory: Bytes for the largest batch.
        width: Channels of the parts whose results are compared.
        archs: TResNets that are measured.
        detectors: See ``detectors.DETECTORS``.
    """

    device: torch.device
    minutes: float = 9.0
    size: int = 224
    batch: int = 64
    detector: tuple[int, int] = (800, 1344)
    seconds: float = 1.5
    memory: int = 16 * GIB
    width: int = 64
    archs: Sequence[str] = tuple(ARCHS)
    detectors: Sequence[str] = (
        'FCOS, TResNet-M',
        'FCOS, TResNet-L',
        'FCOS, ResNet-50',
    )

    @property
    def cuda(self) -> bool:
        return self.device.type == 'cuda'

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The ways to run a backbone, the usual ones first."""
        if not self.cuda:
            return (Mode(),)
        half = torch.float16
        return (
            Mode(half),
            Mode(half, channels_last=True),
            Mode(),
            Mode(half, channels_last=True, compiled=True),
            Mode(half, compiled=True),
            Mode(torch.bfloat16, channels_last=True),
        )


class _Report:
    """Text that grows; each addition is on the disk at once."""

    def __init__(self, file: Path, minutes: float) -> None:
        self.file, self.lines = file, list[str]()
        self.end = time.monotonic() + 60 * minutes
        self.left_out: list[str] = []
        self.late: list[str] = []

    def add(self, *lines: str) -> None:
        self.lines += lines
        with written_whole(self.file) as unfinished:
            Path(unfinished).write_text('\n'.join(self.lines) + '\n')

    def measured(self, what: str, measure: Callable[[], Any], form: str) -> str:
        """A cell: the figure, or '-' where it is left out, with the reason below."""
        if time.monotonic() > self.end:
            self.late.append(what)
            return '-'
        try:
            return format(measure(), form)
        except Exception as error:  # the other figures are not lost for it
            why = str(error).strip().partition('\n')[0][:200]
            self.left_out.append(f'{what}: {type(error).__name__}: {why}')
            return '-'
        finally:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Row by row, so that a report that is cut short keeps the rows it has."""
        self.add('', f'| {" | ".join(head)} |', '|---' * len(head) + '|')
        for row in rows:
            self.add(f'| {" | ".join(row)} |')


def _machine(device: torch.device) -> list[str]:
    if device.type != 'cuda':
        return ['CPU: a short form, which shows that the tool works and no more']
    properties = torch.cuda.get_device_properties(device)
    try:
        driver = subprocess.run(
            ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader'],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        driver = 'not known'
    return [
        f'{properties.name}, {properties.total_memory / GIB:.1f} GiB, '
        f'driver {driver}, CUDA {torch.version.cuda}, cuDNN '
        f'{torch.backends.cudnn.version()}'
    ]


def _parity(report: _Report, plan: Plan) -> None:
    report.add('', '## The same results as the CPU', '')
    dtypes = (torch.float32, torch.bfloat16, *([torch.float16] if plan.cuda else []))
    rows = compare_with_cpu(plan.device, dtypes, plan.width)
    worst = [row for row in rows if not row.holds]
    report.add(
        f'Largest difference from float64 on the CPU, relative to the largest value; '
        f'{len(rows) - len(worst)} of {len(rows)} are within '
        + ', '.join(
            f'{limit:g} ({str(dtype).removeprefix("torch.")})'
            for dtype, limit in LIMITS.items()
        )
        + '.'
    )
    report.table(
        ('part', 'type', 'outputs', 'gradients', 'within'),
        (
            (
                row.part,
                str(row.dtype).removeprefix('torch.'),
                f'{row.forward:.1e}',
                f'{row.gradient:.1e}',
                'yes' if row.holds else '**no**',
            )
            for row in rows
        ),
    )


def _waits(report: _Report, plan: Plan, found: Sequence[Subject]) -> None:
    report.add('', '## Waits for the GPU in a training step', '')
    if not plan.cuda:
        report.add('Counted on CUDA alone.')
        return
    x = torch.randn(8, 3, plan.size, plan.size, device=plan.device)

    def count(subject: Subject) -> int:
        model = subject.build().to(plan.device)
        return waits(partial(train_step, model, x, torch.float16))

    report.table(
        ('backbone', 'waits'),
        (
            (subject.name, report.measured(subject.name, partial(count, subject), 'd'))
            for subject in found
        ),
    )


def _speed(report: _Report, plan: Plan, found: Sequence[Subject]) -> None:
    report.add('', f'## Images a second, {plan.size} px, batch {plan.batch}')
    x = torch.randn(plan.batch, 3, plan.size, plan.size).to(plan.device)

    def row(subject: Subject, mode: Mode) -> tuple[str, ...]:
        def speed(training: bool) -> float:
            model = subject.build().to(plan.device)
            return images_per_second(model, x, mode, training, plan.seconds)

        what = f'{subject.name}, {mode}'
        return (
            subject.name,
            str(mode),
            report.measured(f'{what}, training', partial(speed, True), '.0f'),
            subject.published.get('train', '-'),
            report.measured(f'{what}, inference', partial(speed, False), '.0f'),
            subject.published.get('infer', '-'),
        )

    report.table(
        ('backbone', 'how', 'training', 'paper, V100', 'inference', 'paper, V100'),
        (row(subject, mode) for mode in plan.modes for subject in found),
    )
    report.add(
        '',
        "The paper's figures: arXiv:2003.13630v3 and its repository's README, V100, "
        "mixed precision. timm's own benchmark files, inference with AMP, RTX 4090: "
        'ResNet-50 4303 and TResNet-M 4703 images a second in NCHW, 8039 and 7657 '
        'compiled. A step has forward and backward, no optimizer.',
    )


def _detectors(report: _Report, plan: Plan) -> None:
    try:
        from .detectors import Detector
    except ImportError as error:
        report.left_out.append(f'FCOS: MMDetection is not there ({error})')
        return
    height, width = plan.detector
    report.add('', f'## Images a second, FCOS, {height}x{width}, batch 2')
    dtypes = (torch.float16, torch.float32) if plan.cuda else (torch.float32,)

    def row(name: str, dtype: torch.dtype) -> tuple[str, ...]:
        kind = str(dtype).removeprefix('torch.')

        def speed(training: bool) -> float:
            detector = Detector(name, plan.device, plan.detector, 2)
            detector.model.train(training)
            step = detector.train_step if training else detector.infer
            return rate(partial(step, dtype), 2, plan.device, plan.seconds)

        return (
            name,
            kind,
            report.measured(f'{name}, {kind}, training', partial(speed, True), '.1f'),
            report.measured(f'{name}, {kind}, inference', partial(speed, False), '.1f'),
        )

    report.table(
        ('detector', 'type', 'training', 'inference'),
        (row(name, dtype) for dtype in dtypes for name in plan.detectors),
    )


def _room(report: _Report, plan: Plan, found: Sequence[Subject]) -> None:
    height, width = plan.detector
    report.add('', f'## Memory of a training step, {height}x{width}, batch 2')
    x = torch.randn(2, 3, height, width).to(plan.device)

    measures = [('kept', kept_bytes), *([('peak', peak_bytes)] if plan.cuda else [])]

    def mib(measure: Callable, subject: Subject, dtype: torch.dtype) -> float:
        return measure(subject.build().to(plan.device), x, dtype) / 2 / MIB

    def row(subject: Subject) -> tuple[str, ...]:
        half = torch.float16 if plan.cuda else torch.bfloat16
        return (
            subject.name,
            *(
                report.measured(
                    f'{subject.name}, {name}, {str(dtype).removeprefix("torch.")}',
                    partial(mib, measure, subject, dtype),
                    '.1f',
                )
                for dtype in (torch.float32, half)
                for name, measure in measures
            ),
        )

    report.table(
        (
            'MiB per image',
            *(
                f'{what}, {kind}'
                for kind in ('float32', 'half')
                for what, _ in measures
            ),
        ),
        map(row, found),
    )
    report.add(
        '',
        'Half: autocast makes a copy of each weight for a step, and these copies '
        'count here.',
    )
    report.add(
        '',
        f'## Largest batch, {plan.size} px, {plan.memory / GIB:.0f} GiB, SGD with '
        'momentum, half precision',
    )
    if not plan.cuda:
        report.add('', 'Found on CUDA alone.')
        return

    def fits(subject: Subject) -> int:
        return largest_batch(
            subject.build, plan.device, torch.float16, plan.size, plan.memory
        )

    report.table(
        ('backbone', 'largest batch', 'paper, V100 of 16 GB'),
        (
            (
                subject.name,
                report.measured(f'{subject.name}, batch', partial(fits, subject), 'd'),
                subject.published.get('batch', '-'),
            )
            for subject in found
        ),
    )


def write_gpu_report(
    plan: Plan, file: Path, command: str, commit: str, also_left_out: Sequence[str] = ()
) -> Path:
    """Measures and writes as it goes.

    Args:
        plan: What is measured, where and for how long.
        file: The Markdown file; its folder must be there.
        command: How this was called, for the report.
        commit: Version and commit of this package.
        also_left_out: What the caller leaves out, with the reason.

    Returns:
        The file.
    """
    found, left_out = subjects(plan.archs)
    report = _Report(file, plan.minutes)
    report.left_out += [*left_out, *also_left_out]
    report.add(
        '# TResNet on this device',
        '',
        *_machine(plan.device),
        f'torch {torch.__version__}; {commit}; {date.today()}; seed 0',
        '',
        f'    {command}',
    )
    for section in (
        partial(_parity, report, plan),
        partial(_waits, report, plan, found),
        partial(_room, report, plan, found),
        partial(_speed, report, plan, found),
        partial(_detectors, report, plan),
    ):
        try:
            section()
        except Exception as error:  # the other sections are not lost for it
            report.left_out.append(f'{type(error).__name__}: {error}')
    report.add('', '## Left out', '')
    if report.late:
        report.left_out.append(
            f'{len(report.late)} figures, since {plan.minutes:g} minutes were over: '
            f'{report.late[0]} to {report.late[-1]}'
        )
    report.add(*(f'- {line}' for line in report.left_out or ['nothing']))
    return file
