"""Makes a static page that runs an exported file in a browser.

    python tools/deployment/make_page.py model.onnx OUT_DIR

OUT_DIR/index.html opens with a double click, or from any web server; it needs
no network. onnxruntime-web is downloaded once by npm into the user's cache
(~/.cache/tresnet_det), or taken from --ort-dir.
"""

import argparse
from pathlib import Path

import without_stack  # noqa: F401

# isort: split
from tresnet_det.common.command_line import tell_user_errors
from tresnet_det.deployment.page import make_page, onnxruntime_web


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('model', type=Path, help='ONNX file of export.py')
    parser.add_argument('out_dir', type=Path, help='folder to make')
    parser.add_argument(
        '--ort-dir',
        type=Path,
        help="folder with onnxruntime-web's files, or npm's .tgz of it: nothing is "
        'downloaded',
    )
    return parser.parse_args()


@tell_user_errors
def main() -> None:
    args = parse_args()
    index = make_page(args.model, args.out_dir, args.ort_dir or onnxruntime_web())
    size = sum(path.stat().st_size for path in args.out_dir.rglob('*.*'))
    print(f'{index}: open it in a browser ({size / 2**20:.0f} MiB in the folder)')


if __name__ == '__main__':
    main()
