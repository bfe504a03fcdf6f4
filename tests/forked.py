"""Commands of Python in a fork of the process of the tests.

As a process of its own a command would first import MMDetection, which takes
longer than what most tests ask of it.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path

import cv2


def run_forked(
    output: Path, *command, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess:
    """Runs the file ``command[0]`` as a program with the arguments after it.

    ``output`` is overwritten; ``stdout`` of what comes back has both streams.
    """
    script, *arguments = map(str, command)

    def program() -> None:
        with open(output, 'wb') as stream:
            for descriptor in (1, 2):
                os.dup2(stream.fileno(), descriptor)
        # pytest has put its own in their place.
        sys.stdout, sys.stderr = (open(n, 'w', buffering=1) for n in (1, 2))
        cv2.setNumThreads(0)  # its threads are not in a fork
        os.environ.update(environment)
        os.chdir(cwd or os.getcwd())
        sys.argv = [script, *arguments]
        sys.path.insert(0, str(Path(script).parent))
        runpy.run_path(script, run_name='__main__')

    process = multiprocessing.get_context('fork').Process(target=program)
    process.start()
    process.join()
    return subprocess.CompletedProcess(
        [script, *arguments], process.exitcode, output.read_text(errors='replace')
    )
