"""Trains the small demo on one process, two, and two machines; prints losses.

    python tests/trials/compare_processes.py work_dirs/processes

The machines are two network namespaces, so this needs root and `ip`. In the
end one process of the second machine is killed: both must stop within a
minute, and --resume must end where a run that was left alone ends. The exit
status is 1 if it does not, or if losses differ that should be equal.
"""

import argparse
import os
import sys
from pathlib import Path

from killing import differences
from machines import read_losses, run_on_machines, two_machines, unequal
from small_demo import small_demo

from tresnet_det.data.demo_data import make_demo_data

HERE = Path(__file__).resolve().parent
TOOLS = HERE.parents[1] / 'tools'
BASE = TOOLS.parent / 'configs' / 'demo' / 'fcos_tresnet-m_fpn_demo.py'
# Name -> norm, running statistics only, processes, machines. Rows in which the
# former two are the same should be equal.
RUNS = {
    '1 process, whole batch': ('SyncInPlaceABN', False, 1, 1),
    '2 processes, SyncInPlaceABN': ('SyncInPlaceABN', False, 2, 1),
    '2 machines, SyncInPlaceABN': ('SyncInPlaceABN', False, 2, 2),
    '1 process, norm_eval': ('InPlaceABN', True, 1, 1),
    '2 processes, InPlaceABN, norm_eval': ('InPlaceABN', True, 2, 1),
    '2 machines, InPlaceABN, norm_eval': ('InPlaceABN', True, 2, 2),
    '2 processes, InPlaceABN': ('InPlaceABN', False, 2, 1),
    '2 machines, InPlaceABN': ('InPlaceABN', False, 2, 2),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out_dir', type=Path, help='an empty or new folder')
    parser.add_argument('--epochs', type=int, default=2)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out_dir.resolve()
    make_demo_data(out / 'data', num_train=16, num_val=4, size=64)
    os.environ.setdefault('PYTHON', sys.executable)
    # The config imports `machines`.
    os.environ['PYTHONPATH'] = os.pathsep.join(
        [str(HERE), *filter(None, [os.environ.get('PYTHONPATH')])]
    )

    def command(
        name: str, norm: str, norm_eval: bool, processes: int, machines: int
    ) -> tuple[list, Path]:
        work_dir = out / name.replace(', ', '_').replace(' ', '-')
        config = work_dir.with_suffix('.py')
        config.write_text(
            small_demo(
                BASE,
                out / 'data',
                work_dir,
                args.epochs,
                processes=processes,
                norm=norm,
            )
            + f"model['backbone']['norm_eval'] = {norm_eval}\n"
            "custom_imports = dict(imports=['machines'])\n"
            "custom_hooks.append(dict(type='MeanLossHook'))\n"
        )
        if processes == 1:
            return [sys.executable, TOOLS / 'train.py', config, '--resume'], work_dir
        return [
            'bash',
            TOOLS / 'dist_train.sh',
            config,
            processes // machines,
            '--resume',
        ], work_dir

    losses: dict[tuple, dict[str, list[float]]] = {}
    with two_machines() as machines:
        for name, run in RUNS.items():
            words, work_dir = command(name, *run)
            run_on_machines(words, machines[: run[-1]], work_dir)
            row = losses.setdefault(run[:2], {})[name] = read_losses(work_dir)
            print(f'{name:36}', *(f'{loss:.6f}' for loss in row), flush=True)
        words, killed = command('killed', *RUNS['2 machines, SyncInPlaceABN'])
        seconds, said = run_on_machines(words, machines, killed, kill=1)
        print(
            f'a process of machine 1 killed: both ended after {seconds:.1f} s\n{said}'
        )
        run_on_machines(words, machines, killed)
    whole = command('2 machines, SyncInPlaceABN', *RUNS['2 machines, SyncInPlaceABN'])[
        1
    ]
    names, count = differences(
        *(Path((run / 'last_checkpoint').read_text()) for run in (whole, killed))
    )
    print(f'resumed: {count} values, {len(names)} differ {names[:5] or ""}')
    wrong = [name for rows in losses.values() for name in unequal(rows)]
    print(f'rows that should be equal and are not: {wrong or "none"}')
    sys.exit(bool(names or wrong))


if __name__ == '__main__':
    main()
