"""What fails while a config is built is the config's fault, and told so."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import new_class

from ...common.errors import UserError

__all__ = ['building', 'of_both_kinds']


@contextmanager
def building(part: str) -> Iterator[None]:
    """A config names classes and their arguments: what fails is its fault.

    Args:
        part: What is built, for the message.

    Raises:
        UserError: Building failed. It is an error of the original's kind too:
            who catches mmengine's TypeError or KeyError goes on catching it.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise of_both_kinds(
            error,
            f'the {part} that the config describes cannot be '
            f'built: {type(error).__name__}: {error}',
        ) from error


def of_both_kinds(error: Exception, message: str) -> UserError:
    """A ``UserError`` that ``except`` clauses take for the other one as well."""
    try:
        both = _kind(type(error))(message)
    except TypeError:  # some kinds cannot be made of a message (ExceptionGroup)
        return UserError(message)
    vars(both).update(vars(error))
    if isinstance(error, OSError):
        for name in ('errno', 'strerror', 'filename'):
            setattr(both, name, getattr(error, name))
    return both


def _kind(other: type[Exception]) -> type[UserError]:
    # Neither the arguments that the other kind asks for nor its way to show
    # them (KeyError quotes, OSError adds numbers): the message says all.
    namespace = {
        '__module__': UserError.__module__,
        '__init__': Exception.__init__,
        '__str__': Exception.__str__,
    }
    bases = (UserError, other)
    return new_class('UserError', bases, {}, lambda body: body.update(namespace))
