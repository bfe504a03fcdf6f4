"""The errors that a person at the command line mends alone."""

from collections.abc import Iterable

__all__ = ['UserError', 'some']

_SHOWN = 5  # names a message gives of a long list


class UserError(ValueError):
    """What was given cannot be used.

    The message says what came, what was expected and how to mend it, so the
    tools print it in place of a traceback.
    """


def some(names: Iterable[str]) -> str:
    """The first few of a list of names, and how many more there are."""
    known = list(names)
    more = len(known) - _SHOWN
    return ', '.join(known[:_SHOWN]) + (f' and {more} more' if more > 0 else '')
