"""Kills a small training at random moments, resumes it, compares the end.

    python tools/kill_and_resume.py work_dirs/kills [--kills 20]

One training is left alone; another is killed with SIGKILL, every other time
while a checkpoint is being written, and resumed with --resume each time. Twice
the last checkpoint is damaged too. Weights, optimiser and AP must be the same
to the last bit. With --processes 2 one of two processes is killed.
"""

import argparse
import sys
from pathlib import Path

from tresnet_det.demo_data import make_demo_data
from tresnet_det.kill_and_resume import (damage_file, differences,
                                         draw_moments, run_and_kill,
                                         small_demo)
from tresnet_det.report import coco_figures

TOOLS = Path(__file__).resolve().parent
BASE = TOOLS.parent / 'configs' / 'demo' / 'fcos_tresnet-m_fpn_demo.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out_dir', type=Path, help='an empty or new folder')
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--epochs', type=int, default=24)
    parser.add_argument('--num-workers', type=int, default=0)
    parser.add_argument('--processes', type=int, choices=(1, 2), default=1)
    parser.add_argument('--norm', default='SyncInPlaceABN',
                        choices=('InPlaceABN', 'SyncInPlaceABN'))
    parser.add_argument('--longest', type=float, default=14,
                        help='seconds within which to kill (%(default)s)')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out_dir.resolve()
    data = out / 'data'
    make_demo_data(data, num_train=32, num_val=8, size=64)

    def command(name: str, *options: str) -> list:
        config = out / f'{name}.py'
        config.write_text(small_demo(
            BASE, data, out / name, args.epochs, args.num_workers,
            args.processes, args.norm))
        if args.processes == 1:
            return [sys.executable, '-W', 'ignore', TOOLS / 'train.py',
                    config, *options]
        return ['bash', TOOLS / 'dist_train.sh', config, args.processes,
                *options]

    run_and_kill(command('whole'), out / 'whole', out / 'whole.log')
    print('kill  during   after, s  ended, s  unfinished           then')
    resume, hits, damaged = command('killed', '--resume'), 0, None
    last = out / 'killed' / 'last_checkpoint'
    for number, moment in enumerate(
            draw_moments(args.kills, args.longest, args.seed), start=1):
        log = out / f'killed_{number}.log'
        kill = run_and_kill(
            resume, out / 'killed', log, moment,
            worker=None if args.processes == 1 else number % args.processes)
        if kill is None:
            sys.exit(f'the training ended before kill {number}; give it more '
                     '--epochs')
        if damaged and damaged not in log.read_text(errors='replace'):
            print(f'      {damaged}, damaged, was not reached')
        damaged, done = None, ''
        if number in (args.kills // 3, args.kills * 2 // 3):
            truncate = number == args.kills // 3
            damaged = last.read_text()
            damage_file(Path(damaged), truncate)
            done = (f'{Path(damaged).name} '
                    + ('cut in half' if truncate else 'one bit turned'))
        hits += bool(kill.unfinished)
        left = ', '.join(f'{name} {size}'
                         for name, size in kill.unfinished.items())
        print(f'{number:4}  {"write" if moment.write else "any time":8}'
              f'{kill.seconds:8.1f} {kill.ended:9.1f}   {left or "-":20} '
              f'{done}', flush=True)
    run_and_kill(resume, out / 'killed', out / 'killed_end.log')
    print(f'{args.kills} kills, {hits} of them left an unfinished file')

    detections = [out / name / 'val.bbox.json' for name in ('whole', 'killed')]
    figures = [coco_figures(data / 'annotations' / 'instances_val.json', path)
               for path in detections]
    ends = [Path((out / name / 'last_checkpoint').read_text())
            for name in ('whole', 'killed')]
    names, count = differences(*ends)
    same = detections[0].read_bytes() == detections[1].read_bytes()
    print(f'{ends[0].name} and {ends[1].name}: {count} values compared, '
          f'{len(names)} differ {names[:5] or ""}\n'
          f'detections: {"equal" if same else "DIFFERENT"}; '
          f'AP {figures[0]["AP"]!r} and {figures[1]["AP"]!r}')
    sys.exit(bool(names) or not same)


if __name__ == '__main__':
    main()
