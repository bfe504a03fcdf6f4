"""One training step again, watched layer by layer: where does it go wrong?"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from mmdet.structures.bbox import BaseBoxes
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

__all__ = ['diagnose', 'image_names', 'plain']


def diagnose(
    model: BaseModel, batch: Any, optim_wrapper: OptimWrapper
) -> dict[str, Any]:
    """Computes losses and gradients of a batch and keeps their norms.

    Needs weights that are as before the step. Gradients are those that the
    optimizer would get, before clipping, times the loss scale.

    Args:
        model: A model of MMEngine, not wrapped for several processes. Its
            gradients are replaced.
        batch: What the data loader gave.
        optim_wrapper: Tells the precision and the loss scale.

    Returns:
        A dict that can be written as JSON: 'first', the first layer with a
        value that is not finite (in the forward pass, else in the backward
        pass, else a parameter's gradient; None if all are finite); 'losses';
        norms over all values in order of the forward pass, 'outputs',
        'output_gradients', 'parameters', 'buffers' and
        'parameter_gradients'; 'failure', an error that came in the way.
    """
    norms: dict[str, dict[str, float]] = defaultdict(dict)
    first: dict[str, str] = {}

    def note(kind: str, name: str, values: Any) -> None:
        norm = math.hypot(*map(_norm, _tensors(values)))
        # The head, for one, runs on each level.
        norms[kind][name] = math.hypot(norms[kind].get(name, 0.0), norm)
        if not math.isfinite(norm):
            first.setdefault(kind, name)

    def watch(name: str, module: nn.Module, _: Any, output: Any) -> None:
        note('outputs', name, output)
        for tensor in _tensors(output):
            if tensor.requires_grad:
                tensor.register_hook(partial(note, 'output_gradients', name))

    for name, parameter in model.named_parameters():
        note('parameters', name, parameter)
    for name, buffer in model.named_buffers():
        note('buffers', name, buffer)
    optim_wrapper.zero_grad()
    handles = [
        module.register_forward_hook(partial(watch, name))
        for name, module in model.named_modules()
        if name
    ]
    failure = None
    try:
        with optim_wrapper.optim_context(model):
            losses = model(**model.data_preprocessor(batch, True), mode='loss')
        loss, parts = model.parse_losses(losses)
        for name, value in parts.items():
            note('losses', name, value)
        for handle in handles:  # layers may be computed again in backward
            handle.remove()
        optim_wrapper.backward(optim_wrapper.scale_loss(loss))
    except Exception as error:  # what is known so far must not be lost
        failure = f'{type(error).__name__}: {error}'
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            note('parameter_gradients', name, parameter.grad)
    return dict(
        first=next(
            (
                f'{what} of {first[kind]}'
                for kind, what in (
                    ('outputs', 'the output'),
                    ('losses', 'the value'),
                    ('output_gradients', 'the gradient by the output'),
                    ('parameter_gradients', 'the gradient'),
                )
                if kind in first
            ),
            None,
        ),
        failure=failure,
        **{
            kind: {
                name: value if math.isfinite(value) else str(value)
                for name, value in norms[kind].items()
            }
            for kind in (
                'losses',
                'outputs',
                'output_gradients',
                'parameters',
                'buffers',
                'parameter_gradients',
            )
        },
    )


def image_names(batch: Any) -> list[dict[str, Any]]:
    """Ids and paths of the images of a batch, where its samples have them."""
    return [
        {key: sample.get(key) for key in ('img_id', 'img_path')}
        for sample in _elements(batch)
    ]


def plain(value: Any) -> Any:
    """A batch as dicts, lists and tensors, which torch.load reads with
    ``weights_only=True``."""
    if isinstance(value, BaseDataElement):
        return {key: plain(item) for key, item in value.all_items()}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, BaseBoxes):
        value = value.tensor
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, (str, int, float, type(None))):
        return value
    return str(value)


def _elements(value: Any) -> Iterator[BaseDataElement]:
    """The samples in a batch, at any depth."""
    if isinstance(value, BaseDataElement):
        yield value
    elif isinstance(value, Mapping):
        yield from _elements(list(value.values()))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _elements(item)


def _tensors(value: Any) -> Iterator[Tensor]:
    """The floating-point tensors in a layer's output, at any depth."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, (Mapping, BaseDataElement)):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _norm(tensor: Tensor) -> float:
    """In double precision: what is finite has a finite norm."""
    return float(torch.linalg.vector_norm(tensor.detach(), dtype=torch.float64))
