"""Parameters and multiply-adds of detectors, as a Markdown table.

    python tools/analysis_tools/flops_table.py [CONFIG ...] [--size 800 1280]

Without a config: FCOS and RetinaNet with ResNet-50 and every TResNet. What is
counted stands in tresnet_det/comparison/flops.py.
"""

import argparse

import tresnet_det  # noqa: F401  registers, makes 'tresnet_det::' known

# isort: split
from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.common.config_files import read_config
from tresnet_det.common.errors import UserError
from tresnet_det.common.markdown import as_text
from tresnet_det.comparison.flops import backbone_name, detector_complexity
from tresnet_det.weights.archs import ARCHS

CONFIGS = (
    # The same FCOS as below, with torchvision's ResNet-50; Caffe's, which
    # MMDetection's own configs of FCOS have, strides a conv earlier.
    'tresnet_det::paper/fcos_r50_fpn_8xb6-70e_coco.py',
    *(f'tresnet_det::fcos/fcos_tresnet-{arch}_fpn_1x_coco.py' for arch in ARCHS),
    'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
    *(
        f'tresnet_det::retinanet/retinanet_tresnet-{arch}_fpn_1x_coco.py'
        for arch in ARCHS
    ),
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'configs',
        nargs='*',
        metavar='CONFIG',
        default=CONFIGS,
        help='path, or PACKAGE::PATH',
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=(800, 1280),
        metavar=('H', 'W'),
        help='of the image',
    )
    return parser.parse_args()


@tell_user_errors
def main() -> None:
    args = parse_args()
    print(f'One image, {args.size[0]} high and {args.size[1]} wide:\n')
    print('| detector | backbone | parameters (M) | multiply-adds (G) |')
    print('|---|---|---|---|')
    for name in args.configs:
        cfg = read_config(name)
        try:
            params, macs = detector_complexity(cfg, tuple(args.size))
            cells = f'{params / 1e6:.1f} | {macs / 1e9:.1f}'
        except UserError as error:
            cells = f'| not counted: {as_text(error)}'
        names = f'{as_text(cfg.model.type)} | {as_text(backbone_name(cfg))}'
        print(f'| {names} | {cells} |', flush=True)


if __name__ == '__main__':
    main()
