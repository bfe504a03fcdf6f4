"""What a resumed run takes of its checkpoint where the config says otherwise.

A checkpoint holds the settings of the optimizer and of the schedulers beside
their progress, and loading one brings them all back. Everything else comes
from the config. MMEngine says nothing of either.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

__all__ = [
    'changed_keys',
    'changed_settings',
    'plain_config',
    'read_config',
    'type_names',
]

# Keys of a config that decide what is trained, and how it is measured.
_KEYS = (
    'model',
    'data_preprocessor',
    'train_dataloader',
    'train_cfg',
    'optim_wrapper',
    'auto_scale_lr',
    'custom_hooks',
    'val_dataloader',
    'val_cfg',
    'val_evaluator',
)
# What changes no number, or nothing once there are weights.
_NO_MATTER = {
    '_scope_',
    'init_cfg',
    'num_workers',
    'persistent_workers',
    'pin_memory',
    'prefetch_factor',
    'serialize_data',
}
# Of these the checkpoint holds the effect, which ``changed_settings`` tells.
_IN_STATES = ('optim_wrapper.optimizer', 'optim_wrapper.optimizer.')
_KEPT = ('optim_wrapper.paramwise_cfg', 'optim_wrapper.constructor', 'auto_scale_lr')
# How far a scheduler has come, not what was asked of it.
_PROGRESS = {
    'base_values',
    'best',
    'cooldown_counter',
    'last_step',
    'num_bad_epochs',
    'rule_worse',
    'verbose',
}
# How torch computes a step of an optimizer, not what.
_WAYS = {'params', 'foreach', 'fused', 'capturable', 'differentiable'}
_LONGEST = 80
# What was given as an object, a function say, is not quoted in the text.
_OBJECT = re.compile(r'(?<=[=\[ ])<[^\n]*>(?=[,)\]\n])')
_ADDRESS = re.compile(r' at 0x[0-9a-f]+')

Told = tuple[str, Any, Any]  # name, value of the config, of the checkpoint


def read_config(text: str) -> dict[str, Any]:
    """The values in the text of a config, as MMEngine writes one.

    No code in it is run: it comes with a checkpoint, maybe from elsewhere.

    Returns:
        Nothing if the text cannot be parsed; calls other than ``dict`` and
        names stay text.
    """
    try:
        lines = ast.parse(_OBJECT.sub(_quoted, text)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return {
        line.targets[0].id: _value(line.value)
        for line in lines
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)
    }


def _quoted(found: re.Match[str]) -> str:
    return repr(_ADDRESS.sub('', found[0]))


def _value(node: ast.expr) -> Any:
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {
            key and _value(key): _value(value)
            for key, value in zip(node.keys, node.values)
        }
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == 'dict'
        and not node.args
    ):
        return {keyword.arg: _value(keyword.value) for keyword in node.keywords}
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        return ast.unparse(node)


def plain_config(cfg: Config) -> dict[str, Any]:
    """A config through the same text, so that both sides look alike."""
    # Formatting, which takes seconds, changes no value.
    bare = Config(cfg._cfg_dict.to_dict(), format_python_code=False)
    return read_config(bare.pretty_text)


def type_names(cfg: Any) -> list[str]:
    """Names of the classes in a part of a config, without their modules."""
    parts = cfg if isinstance(cfg, list) else [cfg]
    return [
        str(part['type']).rpartition('.')[2]
        for part in parts
        if isinstance(part, Mapping) and 'type' in part
    ]


def changed_keys(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    """Lines that tell which keys of a config are others than they were.

    Args:
        new: Values of the config, see ``read_config``.
        old: Those of the run that wrote the checkpoint.
    """
    lines = []
    for name, ours, theirs in _differences(_chosen(new), _chosen(old)):
        if not name.startswith(_IN_STATES):
            kept = name.startswith(_KEPT)
            lines.append(_line(name, ours, theirs, kept=kept))
    return lines


def _chosen(cfg: Mapping[str, Any]) -> dict[str, Any]:
    chosen = {key: cfg.get(key) for key in _KEYS}
    if isinstance(chosen['optim_wrapper'], Mapping):  # mmengine's default
        chosen['optim_wrapper'] = {'type': 'OptimWrapper', **chosen['optim_wrapper']}
    return chosen


def _differences(new: Any, old: Any, name: str = '') -> Iterator[Told]:
    if isinstance(new, Mapping) and isinstance(old, Mapping):
        for key in dict.fromkeys([*new, *old]):
            if key not in _NO_MATTER:
                yield from _differences(
                    new.get(key), old.get(key), f'{name}.{key}' if name else str(key)
                )
    elif isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        for number, (ours, theirs) in enumerate(zip(new, old)):
            yield from _differences(ours, theirs, f'{name}[{number}]')
    elif name.endswith('type') and type_names([dict(type=new)]) == type_names(
        [dict(type=old)]
    ):
        return  # 'mmdet.TResNet' is 'TResNet'
    elif new != old and (new or old):  # None, {} and [] say the same
        yield name, new, old


def changed_settings(
    groups: Sequence[Mapping[str, Any]],
    old_groups: Sequence[Mapping[str, Any]],
    schedulers: Sequence[Mapping[str, Any]],
    old_schedulers: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Lines that tell which settings of the checkpoint overrule the config's.

    Args:
        groups: Parameter groups of the optimizer as the config has it.
        old_groups: As many, of the checkpoint.
        schedulers: States of the schedulers as the config has them.
        old_schedulers: As many, of the checkpoint.
    """
    told: dict[tuple[str, str, str], list[int]] = {}
    for number, (ours, theirs) in enumerate(zip(groups, old_groups)):
        for key in sorted({*ours, *theirs} - _WAYS):
            # Schedulers write their values over the settings, which they keep;
            # the momentum's also over the first of two betas.
            if key.startswith('initial_') or (
                key == 'betas' and 'initial_momentum' in theirs
            ):
                continue
            new, old = (
                group.get(f'initial_{key}', group.get(key)) for group in (ours, theirs)
            )
            if key in ours and key in theirs and not _same(new, old):
                told.setdefault((key, _shown(new), _shown(old)), []).append(number)
    lines = []
    for (key, new, old), numbers in told.items():
        where = f' ({len(numbers)} of {len(groups)} groups of parameters)'
        lines.append(
            f'optimizer {key}: {old} of the checkpoint is used, the config says {new}'
            + (where if len(groups) > 1 else '')
        )
    for number, (ours, theirs) in enumerate(zip(schedulers, old_schedulers)):
        for key in ours:
            if key in _PROGRESS or key.startswith('_') or callable(ours[key]):
                continue
            if key in theirs and not _same(ours[key], theirs[key]):
                lines.append(
                    _line(f'param_scheduler[{number}].{key}', ours[key], theirs[key])
                )
    return lines


def _same(one: Any, other: Any) -> bool:
    # A tensor (lr of a capturable optimizer) or an array has no single truth.
    return _shown(one) == _shown(other) or bool(one == other)


def _line(name: str, new: Any, old: Any, kept: bool = True) -> str:
    if kept:
        return (
            f'{name}: {_shown(old)} of the checkpoint is used, the config says '
            f'{_shown(new)}'
        )
    return f'{name}: {_shown(new)} of the config is used, it was {_shown(old)}'


def _shown(value: Any) -> str:
    if isinstance(value, Counter):  # milestones of a scheduler
        value = sorted(value.elements())
    if isinstance(value, list) and value and len(type_names(value)) == len(value):
        value = type_names(value)
    text = str(value.tolist() if hasattr(value, 'tolist') else value)
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]}...'
