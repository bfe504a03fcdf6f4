"""A copy of a model whose norms are folded into the convs before them.

Which conv a norm follows is seen in a forward pass, not guessed from the order
in which modules were registered: what a norm reads must be the very tensor
that the conv returned. The copy is compared with the original before it is
handed out.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..common.errors import UserError
from ..models.abn import InPlaceABN
from ..models.backbone import TResNet
from .deployed_tresnet import DeployedTResNet, activation_of, folded_conv

__all__ = ['deployed', 'head_maps']

# Odd sides of another parity at every level, and small: float64 takes long.
_EXAMPLE = (1, 3, 49, 33)
_TOLERANCE = 1e-6  # of the largest value; both sides compute in float64


def head_maps(model: Any, images: Tensor) -> list[Tensor]:
    """What a detector's head, or a backbone alone, computes from images.

    Args:
        model: A detector of MMDetection's, or any module that takes images.
        images: Normalised images of shape (N, C, H, W).

    Returns:
        The maps, level by level for each kind of map.
    """
    if hasattr(model, 'extract_feat'):
        outputs: Any = model.extract_feat(images)
        for name in ('bbox_head', 'rpn_head'):
            if callable(getattr(model, name, None)):
                outputs = getattr(model, name)(outputs)
                break
    else:
        outputs = model(images)
    return list(_tensors(outputs))


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _tensors(value)


@torch.no_grad()
def deployed(model: nn.Module) -> nn.Module:
    """A copy for inference with norms and their activations in the convs.

    Every TResNet in the model becomes a `DeployedTResNet`; elsewhere every
    batch norm, of whatever kind, goes into the conv that alone feeds it. Norms
    that follow no conv, or one conv of several, stay as they are.

    Args:
        model: A detector, a classifier or a backbone; it is not changed.

    Returns:
        The copy in eval(), without gradients, with the dtype and device of
        the original.

    Raises:
        UserError: The model contains what cannot be folded without changing
            what it computes: parametrised convs, in-place norms whose conv is
            not found, norms without running statistics.
    """
    _check(model)
    original = copy.deepcopy(model).double().requires_grad_(False)
    original.eval()  # may return nothing: mmdet's ResNet
    folded = copy.deepcopy(original)
    folded = _with_deployed_tresnets(folded)
    example = _example(original)
    for norm, conv in _pairs(folded, lambda: head_maps(folded, example)):
        _replace(folded, conv, folded_conv(conv, norm))
        _replace(folded, norm, activation_of(norm))
    _check_same(head_maps(original, example), head_maps(folded, example))
    dtypes = [value.dtype for value in model.parameters()]
    return folded.to(dtypes[0] if dtypes else torch.float32)


def _example(model: nn.Module) -> Tensor:
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    shape = list(_EXAMPLE)
    backbone = getattr(model, 'backbone', model)
    shape[1] = getattr(backbone, 'in_channels', None) or first.in_channels
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(shape, generator=generator, dtype=torch.float64)
    return images.to(next(model.parameters()).device)


def _check(model: nn.Module) -> None:
    if not any(isinstance(m, nn.Conv2d) for m in model.modules()):
        raise UserError(
            f'a {type(model).__name__} has no conv; deployed() takes a detector, '
            'a classifier or a backbone'
        )
    for name, module in model.named_modules():
        if hasattr(module, 'parametrizations') or hasattr(module, 'weight_g'):
            raise UserError(
                f'{name} is a {type(module).__name__} with parametrised weights '
                '(pruning, weight norm); remove the parametrisation first, see '
                'torch.nn.utils.parametrize.remove_parametrizations'
            )
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise UserError(
                f'{name} is a {type(module).__name__} without running statistics: '
                'what it computes depends on the other images of a batch. Train '
                'with track_running_stats=True'
            )


def _with_deployed_tresnets(model: nn.Module) -> nn.Module:
    if isinstance(model, TResNet):
        return DeployedTResNet(model)
    for name, child in model.named_children():
        setattr(model, name, _with_deployed_tresnets(child))
    return model


def _pairs(
    model: nn.Module, run: Callable[[], object]
) -> list[tuple[_BatchNorm, nn.Conv2d]]:
    """Norms and the convs before them, if each has no other partner."""
    made: dict[int, nn.Conv2d] = {}
    kept: list[Tensor] = []  # as long as a tensor lives no other has its id
    feeds: dict[nn.Conv2d, list[_BatchNorm]] = defaultdict(list)
    fed: dict[_BatchNorm, list[nn.Conv2d | None]] = defaultdict(list)
    calls: dict[nn.Conv2d, int] = defaultdict(int)

    def after_conv(conv: nn.Conv2d, inputs: tuple, output: Tensor) -> None:
        made[id(output)] = conv
        kept.append(output)
        calls[conv] += 1

    def before_norm(norm: _BatchNorm, inputs: tuple) -> None:
        conv = made.get(id(inputs[0]))
        fed[norm].append(conv)
        if conv is not None:
            feeds[conv].append(norm)

    with _hooks(model, after_conv, before_norm):
        run()
    pairs = []
    for module in model.modules():
        if not isinstance(module, _BatchNorm):
            continue
        convs = set(fed[module])
        conv = convs.pop() if len(convs) == 1 else None
        if (
            conv is not None
            and set(feeds[conv]) == {module}
            and len(feeds[conv]) == calls[conv]
        ):
            pairs.append((module, conv))
        elif isinstance(module, InPlaceABN):
            name = next(n for n, m in model.named_modules() if m is module)
            raise UserError(
                f'{name} is a {type(module).__name__}, and no conv that feeds it '
                'alone was seen when the model ran; deployed() folds TResNet '
                'backbones and in-place norms that directly follow a conv'
            )
    return pairs


@contextmanager
def _hooks(
    model: nn.Module, after_conv: Callable, before_norm: Callable
) -> Iterator[None]:
    handles: list[Any] = []
    for module in model.modules():
        # Convs of other kinds (deformable, transposed) have other weights.
        if type(module) is nn.Conv2d or (
            isinstance(module, nn.Conv2d) and type(module).__name__ == 'Conv2d'
        ):
            handles.append(module.register_forward_hook(after_conv))
        elif isinstance(module, _BatchNorm):
            handles.append(module.register_forward_pre_hook(before_norm))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in model.modules():
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = new


def _check_same(expected: list[Tensor], maps: list[Tensor]) -> None:
    for i, (right, got) in enumerate(zip(expected, maps, strict=True)):
        error = (right - got).abs().max() / right.abs().max().clamp(min=1e-12)
        if not error <= _TOLERANCE:  # NaN too
            raise UserError(
                f'the folded copy computes something else: output {i} differs by '
                f'{error.item():.3g} of its largest value. Some module uses a conv '
                'or a norm in a way that deployed() does not know; use the model '
                'as it is'
            )
