"""Finds what a training from random weights depends on: one change at a time.

    python tests/trials/from_scratch.py OUT --data BCCD --seeds 0 \\
        --changes tresnet-m r50 fpn_from_c2

Each change is a delta to configs/bccd/fcos_tresnet-m_fpn_256x192_bccd.py, or to
ResNet-50's beside it (r50...); tools/compare.py trains and evaluates all in bfloat16
and goes on where it was stopped. `--list` tells what there is; `--report` trains
nothing and compares what is finished in OUT. At the end a table of AP and of the AP
of each class, in Markdown.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import tresnet_det  # noqa: F401

# isort: split
from mmengine.config import Config

from tresnet_det.common.atomic import written_whole
from tresnet_det.comparison.report import percent

ROOT = Path(__file__).resolve().parents[2]
BCCD = ROOT / 'configs' / 'bccd'
M = dict(_delete_=True, depths=(3, 4, 11, 3), width=64)
FROM_C2 = dict(
    model=dict(
        neck=dict(start_level=0, num_outs=4),
        bbox_head=dict(
            strides=[4, 8, 16, 32],
            regress_ranges=((-1, 16), (16, 32), (32, 64), (64, 1e8)),
        ),
    )
)


class Change(NamedTuple):
    """One arm.

    Attributes:
        text: What is changed, for the table.
        delta: What is merged into the config.
    """

    text: str
    delta: dict[str, Any]


def backbone(**options: Any) -> dict[str, Any]:
    """A delta in the backbone alone."""
    return dict(model=dict(backbone=options))


def changed(**options: Any) -> dict[str, Any]:
    """A delta in parts of TResNet that are no option."""
    return dict(
        custom_imports=dict(imports=['tresnet_det', 'changed_tresnet']),
        **backbone(type='ChangedTResNet', **options),
    )


def epochs(number: int) -> dict[str, Any]:
    """Another length of the whole schedule."""
    return dict(
        train_cfg=dict(max_epochs=number), param_scheduler={'1': dict(T_max=number)}
    )


def learning_rate(lr: float) -> dict[str, Any]:
    return dict(optim_wrapper=dict(optimizer=dict(lr=lr)))


def scale(width: int, height: int, divisor: int) -> dict[str, Any]:
    """Another size of the images, padded to multiples of the divisor."""
    size = (width, height)

    def dataset(step: str) -> dict[str, Any]:
        return dict(dataset=dict(pipeline={step: dict(scale=size)}))

    return dict(
        model=dict(data_preprocessor=dict(pad_size_divisor=divisor)),
        train_dataloader=dataset('2'),
        val_dataloader=dataset('1'),
        test_dataloader=dataset('1'),
    )


CHANGES = {
    'tresnet-m': Change('TResNet-M as published', {}),
    'r50': Change('ResNet-50', {}),
    'bottlenecks': Change(
        'C2 and C3 of 256 and 512 channels: bottlenecks, as in V2-L',
        dict(
            model=dict(
                backbone=dict(arch=dict(bottleneck=(True,) * 4, **M)),
                neck=dict(in_channels=[256, 512, 1024, 2048]),
            )
        ),
    ),
    'stem_of_convs': Change(
        "ResNet's stem: 7x7 conv and max pool, each of stride 2", changed(stem='convs')
    ),
    'no_squeeze_excite': Change(
        'without squeeze-and-excitation', changed(squeeze_excite=False)
    ),
    'no_blur': Change('strides without blur', changed(blur=False)),
    'gammas_1': Change(
        'the last norm of a block starts at 1, not at 0', changed(last_gammas=1.0)
    ),
    'relu': Change(
        'slopes 0: ReLU, with batch norm',
        backbone(arch=dict(stem_slope=0.0, slope=0.0, **M), norm_cfg=dict(type='BN')),
    ),
    'fpn_from_c2': Change('FPN and head from C2: strides 4 to 32', FROM_C2),
    'r50_fpn_from_c2': Change('ResNet-50, FPN and head from C2', FROM_C2),
    'epochs_20': Change('20 epochs', epochs(20)),
    'r50_epochs_20': Change('ResNet-50, 20 epochs', epochs(20)),
    'lr_5e-4': Change('learning rate 5e-4, not 1e-3', learning_rate(5e-4)),
    'lr_2e-3': Change('learning rate 2e-3', learning_rate(2e-3)),
    'r50_lr_5e-4': Change('ResNet-50, learning rate 5e-4', learning_rate(5e-4)),
    'r50_lr_2e-3': Change('ResNet-50, learning rate 2e-3', learning_rate(2e-3)),
    # No more kept bytes than ResNet-50 at 256x192; without padding 240 to 256.
    'size_320x240': Change('images of 320x240', scale(320, 240, 16)),
}


def config_of(name: str) -> Config:
    """The config of an arm.

    Args:
        name: One of CHANGES.
    """
    base = 'r50' if name.startswith('r50') else 'tresnet-m'
    cfg = Config.fromfile(BCCD / f'fcos_{base}_fpn_256x192_bccd.py')
    cfg.merge_from_dict(deepcopy(CHANGES[name].delta))
    return cfg


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', type=Path)
    parser.add_argument('--data', type=Path, help='BCCD in COCO form')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument(
        '--changes', nargs='+', choices=CHANGES, default=[*CHANGES], metavar='CHANGE'
    )
    parser.add_argument('--list', action='store_true', help='the changes, and stop')
    parser.add_argument('--report', action='store_true', help='train nothing')
    return parser.parse_args()


def written_configs(out: Path, names: Sequence[str]) -> list[Path]:
    """The configs of arms, in a folder of OUT."""
    configs = [out / 'configs' / f'{name}.py' for name in names]
    for name, path in zip(names, configs):
        with written_whole(path) as part:
            config_of(name).dump(part)
    return configs


def table(figures: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    """Lines of Markdown.

    Args:
        figures: compare.py's figures.json: arm -> runs.
    """
    runs = {
        name: finished
        for name, each in figures.items()
        if (finished := [run for run in each if 'AP' in run])
    }
    classes = list(next(iter(runs.values()))[0]['classes'])
    head = ['change', 'seeds', 'AP', 'each seed', *classes]
    yield f'| {" | ".join(head)} |'
    yield '|---' * len(head) + '|'
    for name, own in runs.items():
        aps = [run['AP'] for run in own]
        cells = [
            CHANGES[name].text,
            ', '.join(run['run'].removeprefix('seed_') for run in own),
            percent(aps),
            ', '.join(f'{100 * ap:.1f}' for ap in aps),
            *(percent([run['classes'][label] for run in own]) for label in classes),
        ]
        yield f'| {" | ".join(cells)} |'


def main() -> None:
    args = parse_args()
    if args.list:
        for name, change in CHANGES.items():
            print(f'{name:18}{change.text}')
        return
    if args.report:
        arms = [
            args.out / name
            for name in args.changes
            if any((args.out / name).glob('seed_*/evaluated.json'))
        ]
        if len(arms) < 2:
            sys.exit(
                f'{args.out} has {len(arms)} finished arms, a report needs two; train '
                'them by the same command without --report'
            )
    else:
        arms = written_configs(args.out, args.changes)
    paths = [str(Path(__file__).parent), str(ROOT), os.environ.get('PYTHONPATH', '')]
    command = [
        sys.executable,
        ROOT / 'tools' / 'compare.py',
        *arms,
        *(('--data', args.data) if args.data else ()),
        '--seeds',
        *map(str, args.seeds),
        *('--cfg-options', 'optim_wrapper.type=Bfloat16OptimWrapper'),
        *('--repeats', '0', '--out-dir', args.out),
    ]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, paths)))
    figures = args.out / 'figures.json'
    before = figures.stat().st_mtime_ns if figures.exists() else 0
    status = subprocess.call(command, env=environment)
    # A run that is not finished makes the status 1; the others are told.
    if figures.exists() and figures.stat().st_mtime_ns > before:
        print('\n'.join(table(json.loads(figures.read_text()))))
    sys.exit(status)


if __name__ == '__main__':
    main()
