"""Kills a small training at random moments, resumes it, compares the end.

    python tests/trials/kill_and_resume.py work_dirs/kills [--kills 20]

One training is left alone; another is killed with SIGKILL, every other time
while a checkpoint is being written, and resumed with --resume each time. Twice
the last checkpoint is damaged too. Weights, optimiser and AP must be the same
to the last bit, and of 10 kills or more one must meet a write and both damages
must be done; else the exit status is 1. With --processes 2 one of two
processes is killed.
"""

import argparse
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

from killing import (
    differences,
    draw_moments,
    kill_again_and_again,
    not_tried,
    run_and_kill,
)
from small_demo import small_demo

from tresnet_det.data.demo_data import make_demo_data
from tresnet_det.evaluation.figures import coco_figures, evaluate_boxes

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
MANY = 10  # kills, of which all kinds should be met
BASE = TOOLS.parent / 'configs' / 'demo' / 'fcos_tresnet-m_fpn_demo.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out_dir', type=Path, help='an empty or new folder')
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--epochs', type=int, default=20)
    parser.add_argument('--num-workers', type=int, default=0)
    parser.add_argument('--processes', type=int, choices=(1, 2), default=1)
    parser.add_argument(
        '--norm', default='SyncInPlaceABN', choices=('InPlaceABN', 'SyncInPlaceABN')
    )
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out_dir.resolve()
    data, whole, killed = out / 'data', out / 'whole', out / 'killed'
    make_demo_data(data, num_train=32, num_val=8, size=64)

    def command(work_dir: Path) -> list:
        config = out / f'{work_dir.name}.py'
        config.write_text(
            small_demo(
                BASE,
                data,
                work_dir,
                args.epochs,
                args.num_workers,
                args.processes,
                args.norm,
            )
        )
        if args.processes == 1:
            return [sys.executable, TOOLS / 'train.py', config, '--resume']
        os.environ.setdefault('PYTHON', sys.executable)
        return ['bash', TOOLS / 'dist_train.sh', config, args.processes, '--resume']

    run_and_kill(command(whole), whole, out / 'whole.log')
    print('kill  in        after, s  ended, s  unfinished, bytes; then', flush=True)
    met = []
    moments = list(draw_moments(args.kills, args.seed))
    kills = kill_again_and_again(command(killed), killed, out, moments, args.processes)
    for number, (moment, kill) in enumerate(zip(moments, kills), start=1):
        met.append(kill)
        unfinished = ', '.join(
            f'{name} {size}' for name, size in kill.unfinished.items()
        )
        print(
            f'{number:4}  {moment.event:8}  {kill.seconds:8.1f}  '
            f'{kill.ended:8.1f}  '
            f'{unfinished or "-"}; {kill.damage or "-"}',
            flush=True,
        )
    run_and_kill(command(killed), killed, out / 'killed_end.log')

    ends = [Path((run / 'last_checkpoint').read_text()) for run in (whole, killed)]
    names, count = differences(*ends)
    found = [run / 'val.bbox.json' for run in (whole, killed)]
    same = found[0].read_bytes() == found[1].read_bytes()
    with open(os.devnull, 'w') as nowhere, redirect_stdout(nowhere):
        truth = data / 'annotations' / 'instances_val.json'
        ap = [coco_figures(evaluate_boxes(truth, file))['AP'] for file in found]
    hits = sum(bool(kill.unfinished) for kill in met)
    missing = not_tried(met)
    print(
        f'{args.kills} kills, {hits} of them left an unfinished file\n'
        f'{ends[0].name} and {ends[1].name}: {count} values, '
        f'{len(names)} differ {names[:5] or ""}\n'
        f'detections: {"the same bytes" if same else "DIFFERENT"}; '
        f'AP {ap[0]!r} and {ap[1]!r}\n'
        f'not tried: {", ".join(missing) or "nothing"}'
    )
    sys.exit(bool(names or not same or missing and args.kills >= MANY))


if __name__ == '__main__':
    main()
