"""Fuzzes what reads checkpoints.

    python tests/fuzz_checkpoints.py [--minutes 10] [--seed 0]

Whatever a file holds, reading, loading and converting it give a result or a
CheckpointError, a failed load leaves the model as it was, and nothing that a
pickle asks for is run. tests/models/test_fuzz.py tries a few files, this command as
many as the minutes allow; the last one stays if the process is killed.
"""

import argparse
import copy
import logging
import os
import resource
import shutil
import tempfile
import time
import warnings
from pathlib import Path

import torch
from drawn_files import ARCH, CASES, Case
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tresnet_det import TResNet
from tresnet_det.weights.formats import FORMATS
from tresnet_det.weights.pretrained import (
    CheckpointError,
    convert_checkpoint,
    load_pretrained,
    open_checkpoint,
)


def check(case: Case, folder: Path, kept: TResNet, to: str) -> str:
    """Reads, loads and converts one file, in an empty folder.

    Args:
        case: The file.
        folder: Where it is written; the working folder, too.
        kept: A model to load into a copy of.
        to: Format to convert to.

    Returns:
        What became of it: 'read', 'loaded' or 'refused'.

    Raises:
        AssertionError: The model changed though loading failed, or something
            was written.
        Exception: Anything but a CheckpointError is a finding.
    """
    path, target = folder / f'case{case.suffix}', folder / 'converted.pth'
    for old in folder.glob('case*'):
        old.unlink()
    path.write_bytes(case.data)
    became = 'refused'
    try:
        str(open_checkpoint(path))
        became = 'read'
        model = copy.deepcopy(kept)
        load_pretrained(model, path)
        became = 'loaded'
    except CheckpointError as error:
        assert str(path) in str(error)
    if became == 'read':
        for name, value in model.state_dict().items():
            assert torch.equal(value, kept.state_dict()[name]), name
        load_pretrained(model, path, strict=False)
    try:
        convert_checkpoint(path, target, to)
    except CheckpointError:
        assert not target.exists()
    else:
        open_checkpoint(target)
        target.unlink()
    assert os.listdir(folder) == [path.name], os.listdir(folder)
    return became


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--minutes', type=float, default=10)
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='of the first 500 files; the next have the next',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    folder = Path(tempfile.mkdtemp(prefix='fuzz-'))
    print(f'The file that is being read is in {folder}', flush=True)
    logging.disable()  # a line for each file that loads
    try:
        fuzz_for(args, folder)
    finally:
        logging.disable(logging.NOTSET)


def fuzz_for(args: argparse.Namespace, folder: Path) -> None:
    """Draws files for some minutes, in a folder that is removed at the end."""
    warnings.simplefilter('ignore')
    os.chdir(folder)
    # A file that asks for more memory than there is shall fail, not swap.
    resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30,) * 2)
    model, counted = TResNet(ARCH), dict(refused=0, read=0, loaded=0)
    rounds, end = args.seed, time.monotonic() + 60 * args.minutes
    while time.monotonic() < end:

        @seed(rounds)
        @settings(
            max_examples=500,
            deadline=None,
            database=None,
            derandomize=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(CASES, st.sampled_from(list(FORMATS)))
        def fuzz(case: Case, to: str) -> None:
            if time.monotonic() < end:
                counted[check(case, folder, model, to)] += 1

        fuzz()
        rounds += 1
    shutil.rmtree(folder)
    print(
        f'{sum(counted.values())} files in {args.minutes:g} minutes, seeds '
        f'{args.seed} to {rounds - 1}: {counted}; nothing but '
        'CheckpointError, no code was run'
    )


if __name__ == '__main__':
    main()
