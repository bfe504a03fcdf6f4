"""Why a checkpoint of a detector could not be loaded, or not wholly."""

import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from ...common.errors import UserError, some
from ...weights.files import find_state_dict, read_weights
from ...weights.formats import CheckpointError
from ...weights.wrapped_names import fitting_names

__all__ = ['check_fit', 'check_resumable', 'explained', 'name_as_model']


@contextmanager
def explained(file: str, resume: bool = False) -> Iterator[None]:
    """Turns errors of reading a checkpoint into those of ``read_weights``.

    Args:
        file: What is being read; addresses are left alone.
        resume: The state of a training is needed too.

    Raises:
        CheckpointError: The file is missing, damaged or no checkpoint.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if '://' not in str(file):
            _, meta = read_weights(Path(file))
            if resume and 'iter' not in meta:
                raise CheckpointError(
                    f'{file} holds weights and no state of a training, so it '
                    'cannot be resumed. To start from its weights, set '
                    f"load_from = '{file}' in the config, without --resume"
                ) from error
            if isinstance(error, UnpicklingError):
                raise CheckpointError(
                    f'{file} holds weights, beside things that MMEngine does not '
                    'read. Write the weights alone: .venv/bin/python '
                    f'tools/model_converters/publish_model.py {file} OUT.pth'
                ) from error
        raise


def name_as_model(
    checkpoint: Mapping[str, Any], model: nn.Module, file: str
) -> Mapping[str, Any]:
    """A checkpoint whose weights lie where mmengine looks, named as the model's.

    Args:
        checkpoint: What was read; left as it is.
        model: Not wrapped.
        file: Where from, for messages.

    Raises:
        CheckpointError: See ``fitting_names``.
    """
    state = checkpoint.get('state_dict')
    if not isinstance(state, Mapping):
        state, meta = find_state_dict(file, checkpoint)
        checkpoint = dict(meta=meta, state_dict=state)
    try:
        named, prefix = fitting_names(state, model.state_dict().keys())
    except CheckpointError as error:
        raise CheckpointError(f'{file}: {error}') from None
    if prefix:
        unused = [name for name in named if name in state]
        print_log(
            f'{file}: what stands before the names of the weights, {prefix!r}, is '
            f'left out; {len(unused)} other values are not used'
            + (f' ({some(unused)})' if unused else ''),
            'current',
            logging.WARNING,
        )
    # mmengine, and torch, keep the versions of modules at an OrderedDict.
    if list(named) == list(state) and isinstance(state, OrderedDict):
        return checkpoint
    return {**checkpoint, 'state_dict': OrderedDict(named)}


def check_fit(
    model: nn.Module, checkpoint: Mapping[str, Any], file: str, wholly: bool = True
) -> None:
    """mmengine only warns where weights are missing, and goes on with noise.

    Args:
        model: The model, loaded; it may be wrapped for several processes.
        checkpoint: What was loaded into it.
        file: Where from, for the message.
        wholly: All weights are needed; else some will do.

    Raises:
        CheckpointError: Weights are missing or of another shape; if some
            will do, all are.
    """
    found = checkpoint.get('state_dict', checkpoint)
    found = {
        name.removeprefix('module.'): value
        for name, value in found.items()
        if hasattr(value, 'shape')
    }
    bare: Any = model.module if is_model_wrapper(model) else model
    shapes = {name: value.shape for name, value in _as_taken(bare, found).items()}
    wanted = {
        name.removeprefix('module.'): value
        for name, value in model.state_dict().items()
    }
    lacking = [name for name in wanted if name not in shapes]
    other = [
        f'{name} is {tuple(shapes[name])} in the file and '
        f'{tuple(value.shape)} in the model'
        for name, value in wanted.items()
        if name in shapes and shapes[name] != value.shape
    ]
    if not wholly and len(lacking) + len(other) == len(wanted):
        raise CheckpointError(
            f'load_from: no weight of {file} fits the model, which would '
            f'begin at random: {len(lacking)} names of the model are not in '
            f'the file ({some(lacking) or "none"}), {len(other)} weights are '
            f'of another shape ({some(other) or "none"}); the file has '
            f'{some(shapes) or "none"}. Weights of a backbone are loaded by '
            "model.backbone.init_cfg = dict(type='Pretrained', "
            f"checkpoint='{file}')"
        )
    if wholly and (lacking or other):
        raise CheckpointError(
            f'{file} does not fit the model: {len(lacking)} of {len(wanted)} '
            f'weights are missing ({some(lacking) or "none"}), {len(other)} '
            f'are of another shape ({some(other) or "none"}). Take the config '
            'that it was trained with'
        )


def _as_taken(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as the model's modules take them: MMDetection's know older ones,
    which the FCOS of its zoo have."""
    state = dict(state)
    for name, module in model.named_modules():
        takes = type(module)._load_from_state_dict
        if not takes.__module__.startswith(('torch.', 'tresnet_det.')):
            names_only = copy(module)  # it has no weights to fill
            names_only._parameters, names_only._buffers = {}, {}
            names_only._load_from_state_dict(
                state, f'{name}.' if name else '', {}, False, [], [], []
            )
    return state


def check_resumable(
    checkpoint: Mapping[str, Any], needed: Iterable[str], file: str
) -> None:
    """mmengine goes on with a new optimizer where a file holds none.

    Args:
        checkpoint: What was loaded.
        needed: Keys of the states that the training has.
        file: Where from, for the message.

    Raises:
        CheckpointError: A state is missing.
    """
    lacking = [key for key in needed if key not in checkpoint]
    if lacking:
        raise CheckpointError(
            f'{file} cannot be resumed, as it holds no {", no ".join(lacking)}'
            ': best checkpoints have none, nor those of a CheckpointHook with '
            'save_optimizer=False. Resume from an epoch_N.pth or iter_N.pth, '
            f"or start from its weights: set load_from = '{file}' in the "
            'config, without --resume'
        )
