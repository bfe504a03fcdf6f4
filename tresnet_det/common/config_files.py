"""Reading configs with errors that help; imports MMEngine."""

from collections.abc import Iterable
from pathlib import Path

from mmengine.config import Config
from mmengine.hub import get_config

from .errors import UserError

__all__ = ['read_config']


def read_config(name: str | Path, wanted: Iterable[str] = ('model',)) -> Config:
    """A config of a detector.

    Args:
        name: Its path, or ``PACKAGE::PATH``.
        wanted: Keys that it needs.

    Raises:
        UserError: It cannot be read or lacks a key.
    """
    try:
        cfg = get_config(name) if '::' in str(name) else Config.fromfile(name)
    except Exception as error:  # a config is a program: anything can fail
        raise UserError(
            f'the config {name} cannot be read: {type(error).__name__}: {error}'
        ) from error
    lacking = [key for key in wanted if cfg.get(key) is None]
    if lacking:
        raise UserError(
            f'the config {name} lacks {", ".join(lacking)}: is it a config of a '
            'detector, or one of the _base_ parts?'
        )
    return cfg
