"""Writes a comparison down: report.md, figures.json and the plots."""

import json
import math
import platform
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from urllib.parse import quote

import mmcv
import mmdet
import numpy as np
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DefaultScope
from mmengine.utils.dl_utils import collect_env

from ..common.atomic import written_whole
from ..common.errors import UserError
from ..common.markdown import as_code, as_code_block, as_text
from ..common.paired import ratio
from ..environment.versions import commit
from ..evaluation.figures import COCO_FIGURES, draw_detections
from .cost import Cost, measure_costs
from .equality import dataset_of, differences, evaluator_of
from .evaluation import Findings, read_findings
from .plots import plot_curves, plot_precision
from .run import Run
from .teachers import pairs

__all__ = ['percent', 'spread', 'write_report']

# arXiv:2003.13630v3: rows of the table of arms, of which only AP is reported.
PAPER = [
    [f'*{name} (the paper, COCO)*', '*not said*', f'*{ap}*', *'-----']
    for name, ap in (('ResNet-50', 42.8), ('TResNet-M', 44.0))
]


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation over seeds; None for fewer than two."""
    return statistics.stdev(values) if len(values) > 1 else None


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, given cells in Markdown: names of others are escaped."""
    return [
        '| ' + ' | '.join(head) + ' |',
        '|---' * len(head) + '|',
        *('| ' + ' | '.join(row) + ' |' for row in rows),
        '',
    ]


def percent(values: Sequence[float]) -> str:
    """AP in percent: mean and spread over seeds; n/a where undefined."""
    if not values:
        return '-'
    if min(values) < 0:
        return 'n/a'
    deviation = spread(values)
    text = f'{100 * statistics.mean(values):.1f}'
    return text if deviation is None else f'{text} ± {100 * deviation:.1f}'


def _verdict(names: Sequence[str], aps: Sequence[Sequence[float]]) -> str:
    """How far the difference of two arms exceeds the spread over seeds."""
    (first, second), (one, other) = map(as_text, names), aps
    if not one or not other:
        return 'There is no difference to state: an arm has no finished run.'
    gap = 100 * (statistics.mean(other) - statistics.mean(one))
    text = (
        f'{second} minus {first}: **{gap:+.1f} AP** '
        f'({len(one)} and {len(other)} seeds).'
    )
    if len(one) < 2 or len(other) < 2:
        return text + (' With a single seed an arm nothing can be said of the spread.')
    degrees = len(one) + len(other) - 2
    pooled = 100 * math.sqrt(
        (
            (len(one) - 1) * statistics.variance(one)
            + (len(other) - 1) * statistics.variance(other)
        )
        / degrees
    )
    if pooled == 0:
        return text + ' The seeds of each arm agree to the last digit.'
    apart = min(other) > max(one) or min(one) > max(other)
    return text + (
        f' The spread over seeds (pooled standard deviation) is {pooled:.1f} '
        f'AP, so the difference is {abs(gap) / pooled:.1f} times the spread; '
        f'its standard error is '
        f'{pooled * math.sqrt(1 / len(one) + 1 / len(other)):.1f} AP. '
        + (
            'No seed of one arm reaches any of the other.'
            if apart
            else 'The seeds of the arms overlap.'
        )
    )


def _title(names: Sequence[str]) -> str:
    first, *others = map(as_text, names)
    if len(others) > 1:
        return f'{first} against {len(others)} others'
    return ' against '.join([first, *others])


def _runs_table(
    arms: Sequence[Sequence[Run]], found: Mapping[Run, Findings]
) -> list[str]:
    rows = []
    for run in (run for runs in arms for run in runs):
        figures = (
            [
                f'{100 * value:.1f}' if value >= 0 else 'n/a'
                for value in found[run].figures.values()
            ]
            if run in found
            else ['-'] * len(COCO_FIGURES)
        )
        rows.append(
            [as_text(run.arm), as_text(run.label), run.state, run.batch, *figures]
        )
    lines = _table(['arm', 'run', 'state', 'processes x images', *COCO_FIGURES], rows)
    for run in (run for runs in arms for run in runs):
        if run.failure.exists():
            lines += [
                f'{as_text(run)} failed:',
                '',
                *as_code_block(run.failure.read_text().strip()),
                '',
            ]
    return lines


def _cost_table(names: Sequence[str], costs: Mapping[str, Cost]) -> list[str]:
    base = costs[names[0]]

    def cell(value: float, other: float, digits: int) -> str:
        return f'{value:.{digits}f} ({value / other:.2f})'

    def speed(times: str, name: str) -> str:
        own, first = getattr(costs[name], times), getattr(base, times)
        return (
            '-'
            if not own
            else (f'{statistics.median(own):.2f} ({ratio(own, first):.2f})')
        )

    def macs(name: str) -> str:
        count, first = costs[name].macs, base.macs
        if isinstance(count, str):
            return count
        return (
            f'{count / 1e9:.1f}'
            if isinstance(first, str)
            else cell(count / 1e9, first / 1e9, 1)
        )

    def size(of: tuple[int, int, int]) -> str:
        return f'{of[0]} of {of[1]}x{of[2]}'

    rows = [
        [
            'parameters, M',
            *(cell(costs[n].params / 1e6, base.params / 1e6, 1) for n in names),
        ],
        ['multiply-adds at the test size, G', *map(macs, names)],
        [
            'kept for backward, MiB per image',
            *(cell(costs[n].kept, base.kept, 1) for n in names),
        ],
        ['training, images/s', *(speed('train', n) for n in names)],
        ['inference, images/s', *(speed('infer', n) for n in names)],
        [
            'batch in training, height x width',
            *(size(costs[n].train_size) for n in names),
        ],
        [
            'batch in inference, height x width',
            *(size(costs[n].test_size) for n in names),
        ],
    ]
    return _table(['', *map(as_text, names)], rows)


def _cost_part(cfgs: Mapping[str, Config], repeats: int) -> list[str]:
    try:
        costs = measure_costs(cfgs, repeats)
    # What the trainings found is not lost for it, whatever happens here.
    except Exception as error:
        return [
            '## Cost',
            '',
            f'Not measured: {type(error).__name__}: {as_text(error)}',
            '',
        ]
    return [
        '## Cost',
        '',
        'Whole detectors with random weights, one process, in brackets '
        'the ratio to the first arm; times paired, '
        f'{repeats} rounds, medians; on {_hardware()}.'
        + (
            ' A step of a distilled arm includes its teacher; parameters and '
            'inference are those of the student alone.'
            if any('teacher' in cfg.model for cfg in cfgs.values())
            else ''
        ),
        '',
        *_cost_table(list(cfgs), costs),
    ]


def _teachers_part(
    arms: Sequence[Sequence[Run]], of_arm: Mapping[str, Sequence[Findings]]
) -> list[str]:
    """Teacher and student side by side, where both are arms."""
    rows = []
    for student, teacher in pairs(arms):
        means = []
        for role, name in (('teacher', teacher), ('student', student)):
            values = [[f.figures[k] for f in of_arm[name]] for k in COCO_FIGURES]
            rows.append([f'{role} {name}', *map(percent, values)])
            means.append([statistics.mean(v) if v else -1.0 for v in values])
        rows.append(
            [
                'student minus teacher',
                *(
                    f'{100 * (own - other):+.1f}' if min(own, other) >= 0 else 'n/a'
                    for other, own in zip(*means)
                ),
            ]
        )
    if not rows:
        return []
    return [
        '### Teachers and students',
        '',
        'Each student learned from the run of its teacher with the same seed.',
        '',
        *_table(['', *COCO_FIGURES], rows),
    ]


def _detections_part(
    runs: Mapping[str, Run | None], plots: Path, max_images: int
) -> list[str]:
    """Pictures of the first images, where each arm has a finished run."""
    shown = {name: run for name, run in runs.items() if run}
    if len(shown) < len(runs):
        return []
    cfg = next(iter(shown.values())).cfg
    try:
        with DefaultScope.overwrite_default_scope('mmdet'):
            data = DATASETS.build(dict(dataset_of(cfg.val_dataloader), lazy_init=True))
        files = draw_detections(
            data.ann_file,
            {name: run.detections for name, run in shown.items()},
            data.data_prefix['img'],
            plots / 'detections',
            max_images=max_images,
        )
    except (OSError, UserError, KeyError) as error:
        return ['## Detections', '', f'Not drawn: {as_text(error)}', '']
    return [
        '## Detections',
        '',
        'The first images of the val split, '
        "each arm's first finished run, scores from 0.3.",
        '',
        *(f'![{as_text(f.stem)}](plots/detections/{quote(f.name)})' for f in files),
        '',
    ]


def _hardware() -> str:
    device = torch.device(get_device())
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    model = next(
        (
            line.partition(':')[2].strip()
            for line in Path('/proc/cpuinfo').read_text().splitlines()
            if line.startswith('model name')
        ),
        platform.processor(),
    )
    return f'{model}, {torch.get_num_threads()} threads, no GPU'


def _code_of(runs: Sequence[Run]) -> list[str]:
    """What code trained the runs, as they wrote down when they began."""
    records = set()
    for run in runs:
        file = run.work_dir / 'started.jsonl'
        records |= (
            {json.loads(line)['code'] for line in file.read_text().splitlines()}
            if file.exists()
            else {'not recorded'}
        )
    return sorted(records)


def write_report(
    arms: Sequence[Sequence[Run]],
    out_dir: Path,
    command: str,
    repeats: int = 5,
    max_images: int = 6,
) -> Path:
    """Writes ``report.md``, ``figures.json`` and ``plots/`` into ``out_dir``.

    Means are over an arm's finished runs; runs that failed or stopped are
    shown and left out.

    Args:
        arms: The runs of each arm.
        out_dir: Where to write.
        command: What the user typed, for the report.
        repeats: Rounds of the timing; 0 for no times.
        max_images: Pictures with detections side by side.
    """
    names = [runs[0].arm for runs in arms]
    found = {
        run: read_findings(run) for runs in arms for run in runs if run.is_evaluated
    }
    of_arm = {
        name: [found[run] for run in runs if run in found]
        for name, runs in zip(names, arms)
    }
    first = arms[0][0]
    plots = out_dir / 'plots'

    lines = [
        f'# {_title(names)}',
        '',
        *(f'    {line}' for line in command.splitlines()),
        '',
        '## AP',
        '',
        f'Box AP in percent on {as_code(evaluator_of(first.cfg).ann_file)}, '
        'pycocotools, last checkpoint; mean ± standard deviation over '
        'seeds.',
        '',
    ]
    lines += _table(
        ['arm', 'seeds', *COCO_FIGURES],
        [
            *(
                [
                    as_text(name),
                    f'{len(of_arm[name])} of {len(runs)}',
                    *(
                        percent([f.figures[figure] for f in of_arm[name]])
                        for figure in COCO_FIGURES
                    ),
                ]
                for name, runs in zip(names, arms)
            ),
            *PAPER,
        ],
    )
    lines += [
        'The last rows are reported in arXiv:2003.13630v3, for COCO '
        'val2017, FCOS with enhancements of ATSS, 70 epochs, batch 48; '
        'they were not measured here, and compare with the others only '
        'for that data and recipe.',
        '',
    ]
    two = len(names) == 2
    for pair in combinations(names, 2):
        text = _verdict(pair, [[f.figures['AP'] for f in of_arm[n]] for n in pair])
        lines += [text, ''] if two else [f'- {text}']
    lines += [] if two else ['']
    lines += _teachers_part(arms, of_arm)
    lines += ['### Each run', '', *_runs_table(arms, found)]
    classes = next((f.classes for f in found.values()), {})
    lines += [
        '### Each class',
        '',
        *_table(
            ['class', *map(as_text, names)],
            [
                [
                    as_text(label),
                    *(
                        percent([f.classes[label] for f in of_arm[name]])
                        for name in names
                    ),
                ]
                for label in classes
            ],
        ),
    ]
    lines += _cost_part({runs[0].arm: runs[0].cfg for runs in arms}, repeats)
    if found:
        # Two dollars would be a formula to matplotlib.
        plotted = {n.replace('$', r'\$'): f for n, f in of_arm.items() if f}
        plot_curves(
            plotted,
            'epoch' if first.by_epoch else 'iteration',
            plots,
        )
        plot_precision(plotted, plots)
        lines += [
            '## Curves',
            '',
            'Thin lines are single seeds.',
            '',
            '![AP over the training](plots/ap.png)',
            '',
            '![losses](plots/loss.png)',
            '',
            'Mean over classes and seeds; the band is the range of the seeds.',
            '',
            '![precision and recall](plots/precision_recall.png)',
            '',
        ]
    lines += _detections_part(
        {runs[0].arm: next((r for r in runs if r in found), None) for runs in arms},
        plots,
        max_images,
    )
    for runs in arms[1:]:
        lines += [
            f'## What {as_text(runs[0].arm)} differs in',
            '',
            *_table(
                ['', as_text(first.arm), as_text(runs[0].arm)],
                [
                    [as_code(key), *map(as_code, pair)]
                    for key, pair in differences(first.cfg, runs[0].cfg).items()
                ],
            ),
        ]
    environment = collect_env()
    environment.update(
        (module.__name__, module.__version__) for module in (mmcv, mmdet, np)
    )
    environment['pycocotools'] = version('pycocotools')
    lines += [
        '## Environment',
        '',
        *_table(
            ['', ''],
            [
                ['hardware', as_text(_hardware())],
                ['report written by', as_text(commit())],
                [
                    'trained by',
                    as_text('; '.join(_code_of([r for runs in arms for r in runs]))),
                ],
                *(
                    [key, as_text(str(environment[key]).splitlines()[0])]
                    for key in (
                        'Python',
                        'PyTorch',
                        'TorchVision',
                        'OpenCV',
                        'MMEngine',
                        'mmcv',
                        'mmdet',
                        'numpy',
                        'pycocotools',
                        'GCC',
                    )
                    if key in environment
                ),
            ],
        ),
    ]
    with written_whole(out_dir / 'figures.json') as part:
        part.write_text(
            json.dumps(
                {
                    name: [
                        dict(
                            run=run.label,
                            state=run.state,
                            **(found[run].figures if run in found else {}),
                            classes=found[run].classes if run in found else {},
                        )
                        for run in runs
                    ]
                    for name, runs in zip(names, arms)
                },
                indent=1,
            )
        )
    with written_whole(out_dir / 'report.md') as part:
        part.write_text('\n'.join(lines))
    return out_dir / 'report.md'
