"""Names of weights that a wrapper saved, as the bare model has them.

Who saves a model from inside of DistributedDataParallel, torch.compile, an
average of its weights or a trainer's own module gets names with parts that the
model does not know: ``module._orig_mod.backbone.conv1.weight``.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from .formats import CheckpointError

__all__ = ['fitting_names', 'unwrapped_name']

# torch's own wrappers; DistributedDataParallel, AveragedModel and torch.compile.
_PARTS = ('module', '_orig_mod')


def unwrapped_name(name: str) -> str:
    """A name without the parts that torch's wrappers put in, at any place."""
    return '.'.join(part for part in name.split('.') if part not in _PARTS)


def fitting_names(
    state: Mapping[str, Any], wanted: Collection[str]
) -> tuple[dict[str, Any], str]:
    """A state dict with the names of a model.

    The parts of torch's wrappers do not count, on either side. If then no
    name at all is one of the model's, what stands before all of them
    (``model.``, ``ema_model.``) is left out.

    Args:
        state: Of a file.
        wanted: Names of the model.

    Returns:
        The state dict, names that the model has not as they were, and what
        stood before the names.

    Raises:
        CheckpointError: The file holds the model more than once, after
            several prefixes, of which none is an average.
    """
    bare = {unwrapped_name(name): name for name in wanted}
    found = {name: unwrapped_name(name) for name in state}
    prefix = ''
    if bare.keys().isdisjoint(found.values()):
        prefix = _prefix(found.values(), bare)
    named = {}
    for name, value in state.items():
        ours = found[name]
        if ours.startswith(prefix):
            name = bare.get(ours[len(prefix) :], name)
        named[name] = value
    return named, prefix


def _prefix(names: Collection[str], bare: Collection[str]) -> str:
    """What stands before most names of the model; nothing if there are none."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split('.')
        for k in range(1, len(parts)):
            if '.'.join(parts[k:]) in bare:
                counts['.'.join(parts[:k]) + '.'] += 1
    most = max(counts.values(), default=0)
    best = [prefix for prefix, count in counts.items() if count == most]
    # As in read_weights: an average is kept beside the raw weights to be used.
    averages = [prefix for prefix in best if 'ema' in prefix]
    if len(best) > 1 and len(averages) != 1:
        raise CheckpointError(
            f'the file holds the model {len(best)} times, after the prefixes '
            f'{", ".join(sorted(best))}: save the state dict of one of them'
        )
    return (averages if len(best) > 1 else best or [''])[0]
