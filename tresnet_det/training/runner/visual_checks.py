"""Are the packages there that a visualizer writes to?

MMEngine looks when it writes for the first time.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from mmengine.registry import VISBACKENDS

from ...common.errors import UserError

__all__ = ['check_backends']

# What each of MMEngine's backends imports, as pip calls it if otherwise.
_PACKAGES = dict(
    AimVisBackend=['aim'],
    ClearMLVisBackend=['clearml'],
    DVCLiveVisBackend=['dvclive', 'pygit2'],
    MLflowVisBackend=['mlflow'],
    NeptuneVisBackend=['neptune'],
    TensorboardVisBackend=['tensorboard'],
    WandbVisBackend=['wandb'],
)


def check_backends(visualizer: Any) -> None:
    """Looks for the packages of the backends that a config names.

    Args:
        visualizer: What the config says of it.

    Raises:
        UserError: One is not installed; the message has the command.
    """
    given = visualizer.get('vis_backends') if isinstance(visualizer, Mapping) else None
    backends = [given] if isinstance(given, Mapping) else given or []
    for backend in backends:
        kind = backend.get('type') if isinstance(backend, Mapping) else type(backend)
        kind = VISBACKENDS.get(kind) if isinstance(kind, str) else kind
        names = [cls.__name__ for cls in getattr(kind, '__mro__', ())]
        known = next((_PACKAGES[name] for name in names if name in _PACKAGES), [])
        absent = [package for package in known if find_spec(package) is None]
        if absent:
            raise UserError(
                f'the visualizer writes to {names[0]}, and '
                f'{" and ".join(absent)} is not installed: run .venv/bin/pip install '
                f'{" ".join(absent)}, or leave it out of vis_backends of the config'
            )
