"""The backbones that are measured, and what is left out for want of a package."""

import importlib.util
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch.nn as nn

from ...models.network import Network

__all__ = ['Subject', 'subjects']


class Subject(NamedTuple):
    """A backbone that gives maps.

    Attributes:
        name: As the report's tables show it.
        build: Makes it with random weights, on the CPU, in training mode, with norms
            that use batch statistics.
        published: What the paper or timm's benchmark files say of it: key to text.
    """

    name: str
    build: Callable[[], nn.Module]
    published: dict[str, str] = {}


# images/s of training and inference and the largest batch: V100 of 16 GB, mixed
# precision, 224 px (README of the official repository, arXiv:2003.13630v3).
_PAPER = {
    'm': dict(train='730', infer='2930', batch='512'),
    'l': dict(train='345', infer='1390', batch='316'),
    'xl': dict(train='250', infer='1060', batch='240'),
}
_RESNET = dict(train='805', infer='2830', batch='288')


def _ours(arch: str) -> nn.Module:
    return Network(arch, norm_eval=False).train()


def _timm(arch: str) -> nn.Module:
    import timm

    return timm.create_model(
        f'tresnet_{arch}', features_only=True, out_indices=(1, 2, 3, 4)
    ).train()


def _resnet50() -> nn.Module:
    from torchvision.models import resnet50
    from torchvision.models._utils import IntermediateLayerGetter

    class Maps(nn.Module):
        """The four maps, as a tuple."""

        def __init__(self) -> None:
            super().__init__()
            names = {f'layer{k}': str(k) for k in (1, 2, 3, 4)}
            self.body = IntermediateLayerGetter(resnet50(), names)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return tuple(self.body(x).values())

    return Maps().train()


def subjects(archs: Sequence[str]) -> tuple[list[Subject], list[str]]:
    """What can be measured here, the first arch first, and why the rest is left out.

    Args:
        archs: TResNets, by name.
    """
    found = [
        Subject(
            f'TResNet-{arch.upper().replace("_", "-")}',
            lambda arch=arch: _ours(arch),  # type: ignore[misc]
            _PAPER.get(arch, {}),
        )
        for arch in archs
    ]
    left_out = []
    if importlib.util.find_spec('torchvision'):
        found.insert(1, Subject('ResNet-50 (torchvision)', _resnet50, _RESNET))
    else:
        left_out.append('ResNet-50: torchvision is not installed')
    if importlib.util.find_spec('timm'):
        found.insert(2, Subject('TResNet-M (timm)', lambda: _timm('m')))
    else:
        left_out.append("timm's TResNet: timm is not installed")
    return found, left_out
