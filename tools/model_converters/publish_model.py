"""Write the weights of a training's checkpoint alone, to give to others.

    python tools/model_converters/publish_model.py IN OUT

OUT ends in .pth or .safetensors; the file is named OUT-<sha256>.pth, with the
first eight digits of its sha256, as MMDetection names its own. Averaged
weights (EMAHook, timm) are taken where there are some. tools/test.py,
load_from and DetInferencer read the file; it cannot be resumed from.
"""

import argparse

from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.weights.publish import publish


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', metavar='IN', help='checkpoint to read')
    parser.add_argument('target', metavar='OUT', help='DIR/NAME.pth or .safetensors')
    return parser.parse_args()


@tell_user_errors
def main() -> None:
    args = parse_args()
    file = publish(args.source, args.target)
    print(f'{file}  {file.stat().st_size / 2**20:.1f} MiB')


if __name__ == '__main__':
    main()
