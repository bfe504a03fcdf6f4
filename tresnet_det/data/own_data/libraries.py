"""The libraries of the extra [data], imported when a source needs them."""

from importlib import import_module
from types import ModuleType

from ...common.errors import UserError

__all__ = ['imagehash', 'supervision']


def supervision(form: str) -> ModuleType:
    """supervision's reader of a format.

    Args:
        form: 'yolo', 'pascal_voc' or 'labelme'.

    Raises:
        UserError: It is not installed.
    """
    return _imported(f'supervision.dataset.formats.{form}')


def imagehash() -> ModuleType:
    """Raises a UserError where it is not installed."""
    return _imported('imagehash')


def _imported(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f'this needs the library {name.partition(".")[0]} ({error}). '
            "pip install 'tresnet_det[data]' brings it"
        ) from error
