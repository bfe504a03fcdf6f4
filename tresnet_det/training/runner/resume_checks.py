"""Does the state in a checkpoint belong to the training of the config?

Loading it as MMEngine does takes the schedulers pairwise, whatever they are,
and the groups of an optimizer with the keys that another kind had.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict

from ...common.errors import some
from ...weights.formats import CheckpointError
from .changed_config import (
    changed_keys,
    changed_settings,
    plain_config,
    read_config,
    type_names,
)

__all__ = ['check_states', 'tell_changes']

# Parts of the training: in a checkpoint there is a dict of them for several
# optimizers; for one, its own state.
_Parts = dict[str, tuple[Any, Any]]


def check_states(
    checkpoint: Mapping[str, Any],
    optim_wrapper: OptimWrapper | OptimWrapperDict | None,
    schedulers: Any,
    hooks: Iterable[Hook],
    cfg: Config,
    file: str,
    wants_schedulers: bool = True,
) -> list[str]:
    """Compares a checkpoint with the training before it is loaded.

    Args:
        checkpoint: What was read.
        optim_wrapper: Of the training, None to leave its state out.
        schedulers: A list or a dict of lists.
        hooks: Of the runner.
        cfg: Of the runner.
        file: Where the checkpoint is from, for the message.
        wants_schedulers: Whether their states are to be loaded at all.

    Returns:
        Lines that tell where config and checkpoint disagree and which of the
        two is used, for ``tell_changes``.

    Raises:
        CheckpointError: The state is another training's.
    """
    new = plain_config(cfg)
    # Of the run that wrote the checkpoint.
    old = read_config(str(checkpoint['meta'].get('cfg') or ''))
    faults = _type_faults(new, old, optim_wrapper, schedulers) if new and old else []
    lines: list[str] = []
    optimizers = _paired(optim_wrapper, checkpoint, 'optimizer', faults)
    timetables = _paired(schedulers, checkpoint, 'param_schedulers', faults)
    if not faults:  # else they say the same in other words
        for wrapper, state in optimizers.values():
            faults += _optimizer_faults(wrapper, state)
        for ours, theirs in timetables.values():
            faults += _scheduler_faults(ours, theirs)
    if wants_schedulers and schedulers is None and checkpoint.get('param_schedulers'):
        faults.append(
            'the config has no schedulers, the checkpoint '
            f'{len(checkpoint["param_schedulers"])}, which left their mark on the '
            'learning rate'
        )
    if 'ema_state_dict' in checkpoint and not any(
        isinstance(hook, EMAHook) for hook in hooks
    ):
        faults.append(
            'the checkpoint holds averaged weights beside the trained ones, '
            'and the config has no EMAHook to tell them apart'
        )
    if faults:
        raise CheckpointError(
            f'{file} cannot be resumed with this config: '
            f'{"; ".join(dict.fromkeys(faults))}. Go on with the config it was '
            f"trained with, or start anew from its weights: set load_from = '{file}' "
            'in the config, without --resume'
        )
    for name in dict.fromkeys([*optimizers, *timetables]):
        wrapper, state = optimizers.get(name, (None, {}))
        ours, theirs = timetables.get(name, ((), ()))
        lines += [
            f'{name}: {line}' if name else line
            for line in changed_settings(
                wrapper.optimizer.param_groups if wrapper else (),
                state.get('param_groups', ()),
                [scheduler.state_dict() for scheduler in ours],
                theirs,
            )
        ]
    return lines + (changed_keys(new, old) if new and old else [])


def tell_changes(lines: Sequence[str], file: str) -> None:
    """Warns of what ``check_states`` found, in one record of the log."""
    if lines:
        print_log(
            f'resumed from {file} with another config than it was trained '
            'with:\n  '
            + '\n  '.join(lines)
            + '\nTo train with all values of the config, start anew from the '
            f"weights: load_from = '{file}' in the config, without --resume",
            'current',
            logging.WARNING,
        )


def _type_faults(
    new: Mapping[str, Any], old: Mapping[str, Any], optim_wrapper: Any, schedulers: Any
) -> list[str]:
    """States say little of the class that wrote them; configs name it."""
    faults = []
    for what, part, ours, theirs in (
        ('optimizer', optim_wrapper, _optimizer(new), _optimizer(old)),
        (
            'schedulers',
            schedulers,
            new.get('param_scheduler'),
            old.get('param_scheduler'),
        ),
    ):
        names, former = type_names(ours), type_names(theirs)
        # None is named where an object or a dict of several was given.
        if part is not None and names and former and names != former:
            faults.append(
                f'the {what} of the config: {", ".join(names)}, of the '
                f'checkpoint: {", ".join(former)}'
            )
    return faults


def _optimizer(cfg: Mapping[str, Any]) -> Any:
    wrapper = cfg.get('optim_wrapper')
    return wrapper.get('optimizer') if isinstance(wrapper, Mapping) else None


def _paired(part: Any, checkpoint: Mapping, key: str, faults: list[str]) -> _Parts:
    """States beside what will load them, by the optimizer's name if several."""
    state = checkpoint.get(key)
    if part is None or state is None:  # see check_resumable
        return {}
    several = isinstance(part, (OptimWrapperDict, dict))
    others = isinstance(state, Mapping) and 'param_groups' not in state
    ours, theirs = (
        list(value.keys()) if many else ['one']
        for value, many in ((part, several), (state, others))
    )
    if sorted(ours) != sorted(theirs):
        faults.append(
            f'the {key} of the config: {", ".join(ours)}, of the checkpoint: '
            f'{", ".join(theirs)}'
        )
        return {}
    if not several:
        return {'': (part, state)}
    return {name: (part[name], state[name]) for name in ours}


def _optimizer_faults(wrapper: OptimWrapper, state: Mapping[str, Any]) -> list[str]:
    groups, former = wrapper.optimizer.param_groups, state['param_groups']
    sizes, former_sizes = (
        [len(group['params']) for group in each] for each in (groups, former)
    )
    if sizes != former_sizes:
        return [
            'the optimizer has '
            + ' and '.join(
                f'{len(each)} groups of {sum(each)} parameters in all in the {whose}'
                for each, whose in ((sizes, 'config'), (former_sizes, 'checkpoint'))
            )
            + ' (paramwise_cfg, frozen or new parts of the model)'
        ]
    # What belongs to an optimizer alone; torch adds keys that concern the way
    # of computing from one version to the next.
    known = {key for key in wrapper.optimizer.defaults if key in groups[0]}
    lacking = known - {*former[0]}
    extra = {*former[0]} - {*groups[0]} - {'initial_lr', 'initial_momentum'}
    if lacking and extra:
        return [
            f"the optimizer's settings {some(sorted(lacking))} are not in the "
            f'checkpoint, which has {some(sorted(extra))}: another optimizer'
        ]
    shapes = [tuple(p.shape) for group in groups for p in group['params']]
    numbers = [number for group in former for number in group['params']]
    wrong = [
        f'{tuple(value.shape)} for {shape}'
        for number, shape in zip(numbers, shapes)
        for value in state['state'].get(number, {}).values()
        if getattr(value, 'ndim', 0)
        and tuple(value.shape) != shape
        # Some (Adafactor) keep less than a value for each weight.
        and value.numel() >= _count(shape)
    ]
    if wrong:
        return [
            f'{len(wrong)} values in the state of the optimizer have the shape of '
            f'other parameters ({some(wrong)})'
        ]
    return []


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _scheduler_faults(ours: Sequence[Any], theirs: Sequence[Mapping]) -> list[str]:
    if len(ours) != len(theirs):
        names = [type(scheduler).__name__ for scheduler in ours]
        return [
            f'{len(ours)} schedulers in the config ({", ".join(names) or "none"}), '
            f'{len(theirs)} in the checkpoint'
        ]
    faults = []
    for number, (scheduler, state) in enumerate(zip(ours, theirs)):
        keys = {key for key in scheduler.state_dict() if not key.startswith('_')}
        other = {key for key in state if not key.startswith('_')}
        lacking, extra = sorted(keys - other), sorted(other - keys)
        if lacking and extra:
            faults.append(
                f'param_scheduler[{number}], a {type(scheduler).__name__} with '
                f'{some(lacking)}, is one with {some(extra)} in the checkpoint'
            )
    return faults
