"""The errors that a person at the command line mends alone."""

__all__ = ['UserError']


class UserError(ValueError):
    """What was given cannot be used.

    The message says what came, what was expected and how to mend it, so the
    tools print it in place of a traceback.
    """
