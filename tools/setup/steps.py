"""Long commands: their output in a log, their progress and errors in a line.

Standard library only, and syntax that any Python from 3.6 on reads, as all of
this folder: it runs before anything is installed.
"""

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import IO, Mapping, Optional, Sequence

TELL_EVERY = 15  # seconds


class SetupError(Exception):
    """One line: what came, what was expected, how to mend it."""


def say(text: str) -> None:
    print(f'setup: {text}', flush=True)


def telling(output: bytes) -> str:
    """The line that tells most of why a command failed."""
    lines = output.decode(errors='replace').strip().splitlines() or ['']
    errors = [s for s in lines if re.search('error: (?!subprocess-exited)', s, re.I)]
    return (errors or lines[-1:])[0].strip()[-300:]


def progress(output: bytes, seconds: float) -> str:
    """What a command is at: ninja's counter and the time left, or its words.

    >>> progress(b'[25/100] c++ a.cpp', 60)
    '25 of 100 files compiled, about 3.0 minutes left'
    """
    text = output.decode(errors='replace')
    counts = re.findall(r'^\s*\[(\d+)/(\d+)\] ', text, re.M)
    if not counts:  # pip indents what is of less interest
        return (re.findall(r'^\S.*', text, re.M) or [''])[-1][:70]
    done, total = map(int, counts[-1])
    left = seconds / 60 / max(done, 1) * (total - done)
    return f'{done} of {total} files compiled, about {left:.1f} minutes left'


def run(
    what: str,
    command: Sequence[str],
    log: IO[bytes],
    environ: Optional[Mapping[str, str]] = None,
    cost: str = '',
) -> None:
    """Runs a command into the log and tells how far it is.

    Args:
        what: what it does, for the reader.
        command: the command and its arguments.
        log: a file open for appending.
        environ: its environment; this process's if None.
        cost: what it takes, for the reader.

    Raises:
        SetupError: it failed; holds the line that tells most.
    """
    say(f'{what} ({cost})' if cost else what)
    start, begin = time.monotonic(), log.seek(0, os.SEEK_END)
    child = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=dict(environ or os.environ),
    )
    while True:
        try:
            status = child.wait(timeout=TELL_EVERY)
            break
        except subprocess.TimeoutExpired:
            output = Path(log.name).read_bytes()[begin:]
            seconds = time.monotonic() - start
            say(f'  {seconds:.0f} s: {progress(output, seconds)}')
    if status:
        why = (
            telling(Path(log.name).read_bytes()[begin:])
            if status > 0
            else f'it was ended by {signal.Signals(-status).name}'
        )
        raise SetupError(f'{what} failed: {why} (all it said: {log.name})')
    say(f'  done in {(time.monotonic() - start) / 60:.1f} minutes')
