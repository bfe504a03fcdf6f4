"""Trains detectors alike, evaluates them on the same images, writes a report.

    python tools/compare.py CONFIG_A CONFIG_B --data DATA --seeds 0 1 2

Each arm is a config, or the work folder of a finished training (or a folder
of such, one a seed). An arm that is distilled from the config of another arm
learns from that arm's run with the same seed. Called again, it continues where
it was. A run that fails is shown as failed; the others go on.
"""

import argparse
import shlex
import sys
from pathlib import Path

import tresnet_det  # noqa: F401  registers, allows safe checkpoint classes

# isort: split
from mmengine.config import DictAction

from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.common.errors import UserError
from tresnet_det.comparison.estimate import plan_table
from tresnet_det.comparison.plan import check_comparable, plan_arm
from tresnet_det.comparison.report import write_report
from tresnet_det.comparison.teachers import in_order, link_teachers
from tresnet_det.comparison.training import evaluate, train


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('arms', type=Path, nargs='+', metavar='ARM')
    parser.add_argument('--data', help="replaces the configs' data_root")
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument(
        '--out-dir',
        type=Path,
        default='work_dirs/compare',
        help='runs, report.md and plots (%(default)s)',
    )
    parser.add_argument(
        '--gpus',
        type=int,
        default=1,
        help='processes, one a GPU (%(default)s); the rate must be for so many',
    )
    parser.add_argument(
        '--repeats',
        type=int,
        default=5,
        help='rounds of the timing; 0 leaves times out',
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='print the plan and its time, write nothing',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='key=value, for every arm that is trained',
    )
    return parser.parse_args()


@tell_user_errors
def main() -> None:
    args = parse_args()
    out_dir = args.out_dir.resolve()
    arms = [
        plan_arm(arm, out_dir, args.seeds, args.data, args.cfg_options, args.gpus)
        for arm in args.arms
    ]
    if len(arms) < 2:
        raise UserError('a comparison needs two arms at least, got one')
    check_comparable(arms)
    link_teachers(arms)
    runs = in_order(arms)
    print(plan_table(arms, estimate=args.dry_run), flush=True)
    if args.dry_run:
        return
    for run in runs:
        state = run.state
        print(f'{run}: {state}', flush=True)
        try:
            if run.gpus:
                train(run)
            evaluate(run, args.gpus)
            run.failure.unlink(missing_ok=True)
            if run.state != state:
                print(f'{run}: now {run.state}', flush=True)
        except Exception as error:  # the other runs are not lost for it
            run.failure.write_text(str(error))
            print(f'{run} failed: {error}', file=sys.stderr)
    print('measuring costs, writing the report', flush=True)
    report = write_report(
        arms, out_dir, shlex.join(['python', *sys.argv]), args.repeats
    )
    print(f'{report}: the comparison')
    left_out = [
        f'{run} ({run.state})' for runs in arms for run in runs if not run.is_evaluated
    ]
    if left_out:
        sys.exit(
            f'not in the comparison: {", ".join(left_out)}; the same '
            'command tries again what it trains'
        )


if __name__ == '__main__':
    main()
