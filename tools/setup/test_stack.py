"""Runs the test suite in an environment of one stack of versions.

    python3.11 tools/setup/test_stack.py STACK [--into DIR] [PYTEST OPTION ...]

The environment DIR/.venv-STACK is made first, as `make setup` does, unless it
is there and up to date. The last line is a row of the documentation's table.
"""

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List, Mapping, Optional, Sequence, Tuple
from xml.etree import ElementTree

from environment import set_up
from stacks import STACKS, Stack
from steps import SetupError

ROOT = Path(__file__).resolve().parents[2]


def parse_args(
    arguments: Optional[Sequence[str]] = None,
) -> Tuple[argparse.Namespace, List[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('stack', choices=STACKS)
    parser.add_argument(
        '--into', type=Path, metavar='DIR', default=ROOT / 'work_dirs' / 'stacks'
    )
    return parser.parse_known_args(arguments)


def run_suite(python: Path, options: Sequence[str]) -> Tuple[int, str]:
    """Runs pytest; gives its exit status and its counts in words."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / 'report.xml'
        status = subprocess.call(
            [str(python), '-m', 'pytest', '--junitxml', str(report)] + list(options),
            cwd=str(ROOT),
        )
        if not report.is_file():
            return status or 1, 'the suite did not run'
        suite = ElementTree.parse(str(report)).getroot().find('testsuite')
    return status, counts({} if suite is None else suite.attrib)


def counts(suite: Mapping[str, str]) -> str:
    """What pytest's report counts, in words.

    >>> counts({'tests': '9', 'failures': '1', 'errors': '1', 'skipped': '2'})
    '5 passed, 2 skipped, 2 failed'
    """
    tests, failures, errors, skipped = (
        int(suite.get(name, 0)) for name in ('tests', 'failures', 'errors', 'skipped')
    )
    failed = failures + errors
    return f'{tests - failed - skipped} passed, {skipped} skipped, {failed} failed'


def row(stack: Stack, result: str, day: datetime.date) -> str:
    """As tresnet_det/environment/tested.py writes it, which imports nothing here."""
    pins, fork = stack.pins(), 'onedl-' if stack.extra == 'onedl' else ''
    mmdet = 'onedl-mmdetection' if fork else 'mmdet'
    versions = ', '.join(
        f'{name} {pins[pin]}'
        for name, pin in (
            ('torch', 'torch'),
            ('numpy', 'numpy'),
            ('mmengine', f'{fork}mmengine'),
            ('mmcv', stack.mmcv),
            ('mmdet', mmdet),
        )
    )
    return f'| {stack.name} | {versions} | {day} | {result} |'


def main(arguments: Optional[Sequence[str]] = None) -> int:
    args, options = parse_args(arguments)
    stack = STACKS[args.stack]
    args.into.mkdir(parents=True, exist_ok=True)
    try:
        python = set_up(
            ROOT, os.environ, stack, args.into.resolve() / f'.venv-{stack.name}'
        )
    except SetupError as error:
        sys.exit(f'setup: {error}')
    status, result = run_suite(python, options)
    print(row(stack, result, datetime.date.today()))
    return status


if __name__ == '__main__':
    sys.exit(main())
