"""Measures TResNet on a GPU and writes a Markdown report, in under ten minutes.

    python tools/analysis_tools/gpu_report.py [--out work_dirs/gpu_report.md]

Results beside the CPU's, waits, memory, the largest batch, images a second; TResNet
beside ResNet-50 and timm's TResNet, the published figures beside ours. torch is enough;
what is left out for want of a package or of time is named. --device cpu is a short form
that shows that the tool works.
"""

import argparse
import importlib.util
import shlex
import sys
import types
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / 'tresnet_det'
MM = ('mmengine', 'mmcv', 'mmdet')

left_out = [name for name in MM if not importlib.util.find_spec(name)]
if left_out:
    # The backbones need torch alone; the package's own start demands all of mm*.
    bare = types.ModuleType('tresnet_det')
    bare.__path__ = [str(PACKAGE)]
    sys.modules['tresnet_det'] = bare
else:
    import tresnet_det  # noqa: F401

# isort: split
import torch

from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.common.errors import UserError
from tresnet_det.comparison.gpu_report.report import GIB, Plan, write_gpu_report
from tresnet_det.environment.versions import commit


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, default='work_dirs/gpu_report.md')
    parser.add_argument('--device', default='cuda')
    parser.add_argument(
        '--minutes', type=float, default=9, help='begin nothing after (%(default)s)'
    )
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument(
        '--memory',
        type=float,
        default=16,
        help='GiB for the largest batch, as the paper has them (%(default)s)',
    )
    return parser.parse_args()


@tell_user_errors
def main() -> None:
    args = parse_args()
    device = torch.device(args.device)
    if device.type == 'cuda' and not torch.cuda.is_available():
        raise UserError(
            'torch sees no GPU here; --device cpu runs a short form on the CPU'
        )
    plan = Plan(device, args.minutes, batch=args.batch, memory=round(args.memory * GIB))
    if not plan.cuda:
        plan = plan._replace(
            size=64,
            batch=1,
            detector=(64, 64),
            seconds=0,
            width=8,
            archs=('m',),
            detectors=('FCOS, TResNet-M',),
        )
    absent = [f'what needs {name}: not installed' for name in left_out]
    print(
        write_gpu_report(
            plan, args.out, shlex.join(['python', *sys.argv]), commit(), absent
        )
    )


if __name__ == '__main__':
    main()
