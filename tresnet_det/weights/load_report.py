"""What became of each tensor when weights were loaded, for logs and people."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..common.errors import some

__all__ = ['LoadReport', 'by_reason']


@dataclass(frozen=True)
class LoadReport:
    """What became of each tensor of a file and of a model.

    Attributes:
        file: The file that was read.
        format: 'official', 'timm' or 'mm'.
        arch: What the file looks like, see :func:`describe_arch`.
        loaded: Names in the model that got a value.
        dropped: Left out on purpose: key in the file to reason.
        missing: Names in the model that the file has no value for.
        unexpected: Keys in the file that the model has no place for.
        mismatched: Name in the model to the shapes in file and model.
    """

    file: str
    format: str
    arch: str
    loaded: tuple[str, ...]
    dropped: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(
        default_factory=dict
    )

    @property
    def complete(self) -> bool:
        """Whether nothing was missing, unexpected or of another shape."""
        return not (self.missing or self.unexpected or self.mismatched)

    def problems(self) -> str:
        """What does not fit, one phrase a kind; empty where all does."""
        shapes = [
            f'{name} is {file} in the file and {model} in the model'
            for name, (file, model) in self.mismatched.items()
        ]
        kinds = (
            ('missing', self.missing),
            ('unexpected', self.unexpected),
            ('of another shape', shapes),
        )
        return '; '.join(
            f'{len(names)} {kind} ({some(names)})' for kind, names in kinds if names
        )

    def __str__(self) -> str:
        """The one line that is logged."""
        return (
            f'{self.file}: {self.format} weights of TResNet {self.arch}: '
            f'{len(self.loaded)} tensors loaded; dropped on purpose: '
            f'{by_reason(self.dropped) or "none"}; '
            f'{self.problems() or "all fit"}'
        )


def by_reason(dropped: Mapping[str, str]) -> str:
    """How many tensors were dropped for each reason."""
    reasons = list(dropped.values())
    return ', '.join(
        f'{reasons.count(reason)} {reason}' for reason in dict.fromkeys(reasons)
    )
