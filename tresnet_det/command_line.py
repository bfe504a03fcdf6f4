"""What all tools share: an error that a user can mend is one line."""

import errno
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

from .errors import UserError

__all__ = ['tell_user_errors']

DEBUG = 'TRESNET_DET_DEBUG'  # environment variable
# A path that a user gave; the system's message names it.
_OF_PATHS = (FileExistsError, FileNotFoundError, IsADirectoryError,
             NotADirectoryError, PermissionError)
# A disk that takes no more: full, beyond the quota, read-only.
_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def tell_user_errors(main: Callable) -> Callable:
    """Makes a tool's main end with "error: ..." and status 1.

    Only for ``UserError``, whose message says all, for paths that are not as
    they should be and for full disks; others keep their traceback. With
    TRESNET_DET_DEBUG=1 in the environment all do.
    """
    @functools.wraps(main)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return main(*args, **kwargs)
        except (UserError, OSError) as error:
            told = (isinstance(error, (UserError, *_OF_PATHS))
                    or error.errno in _OF_DISKS)
            if not told or os.environ.get(DEBUG, '0') != '0':
                raise
            # From a process that loads data comes its traceback as text.
            kind = type(error)
            mark = f'{kind.__module__}.{kind.__qualname__}: '
            sys.exit(f'error: {str(error).rpartition(mark)[2].rstrip()}')

    return wrapped
