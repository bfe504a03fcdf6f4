"""What all tools share: an error that a user can mend is one line.

Standard library only: the package comes here where its stack is broken.
"""

import errno
import functools
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import UserError

__all__ = ['tell_import_error', 'tell_user_errors']

DEBUG = 'TRESNET_DET_DEBUG'  # environment variable
# A path that a user gave; the system's message names it.
_OF_PATHS = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
# A disk that takes no more: full, beyond the quota, read-only.
_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def tell_import_error(error: Exception) -> None:
    """Ends one of our tools with "error: ..." and status 1.

    A tool imports the package before anything of its own can catch this.

    Args:
        error: Why the package cannot be imported; other programs than the
            tools, and TRESNET_DET_DEBUG=1, leave it to the caller.
    """
    tools = Path(__file__).parents[1] / '.mim' / 'tools'  # a link or a folder
    program = getattr(sys.modules['__main__'], '__file__', None) or ''
    if (
        isinstance(error, ImportError)
        and not _debugging()
        and tools.resolve() in Path(program).resolve().parents
    ):
        sys.exit(f'error: {error}')


def _debugging() -> bool:
    return os.environ.get(DEBUG, '0') != '0'


def _output_is_cut_off() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    output = 1  # its descriptor: sys.stdout may be None, or somebody's own
    poll = select.poll()
    poll.register(output, 0)  # POLLERR comes unasked
    if not any(events & select.POLLERR for _, events in poll.poll(0)):
        return False
    # Python writes what is left at exit, and would tell of the same again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True


def tell_user_errors(main: Callable) -> Callable:
    """Makes a tool's main end with "error: ..." and status 1.

    Only for ``UserError``, whose message says all, for paths that are not as
    they should be and for full disks; others keep their traceback. Ctrl-C ends
    with status 130, and a reader of the output that has gone (``| head``) with
    141. With TRESNET_DET_DEBUG=1 in the environment all keep their traceback.
    """

    @functools.wraps(main)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            result = main(*args, **kwargs)
            print(end='', flush=True)  # what cannot be written shows here, not at exit
            return result
        except BrokenPipeError:
            if _debugging() or not _output_is_cut_off():
                raise
            sys.exit(141)  # as a shell has it: 128 + SIGPIPE
        except KeyboardInterrupt:
            if _debugging():
                raise
            print('stopped by Ctrl-C', file=sys.stderr)
            sys.exit(130)  # as a shell has it: 128 + SIGINT
        except (UserError, OSError) as error:
            told = (
                isinstance(error, (UserError, *_OF_PATHS)) or error.errno in _OF_DISKS
            )
            if not told or _debugging():
                raise
            # From a process that loads data comes its traceback as text.
            kind = type(error)
            mark = f'{kind.__module__}.{kind.__qualname__}: '
            sys.exit(f'error: {str(error).rpartition(mark)[2].rstrip()}')

    return wrapped
