"""Counts how often values of the device are read, on a CPU that stands for one."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ['Reads']

READS = ('_local_scalar_dense', 'nonzero', 'is_nonzero', 'equal', 'masked_select')


class Reads(TorchDispatchMode):
    """Counts the operators that hand values from the device to the host."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.split('::')[1]
        given = kwargs or {}
        to_host = (
            name == '_to_copy'
            and str(given.get('device')) == 'cpu'
            # Autocast's change of the type names the device, too.
            and given.get('dtype') in (None, args[0].dtype)
        )
        # Values are on the host already once they have been copied to it.
        self.count += to_host or (_asks(name, args) and not _on_host(args[0]))
        result = func(*args, **given)
        if to_host:
            result.on_host = True
        return result


def _asks(name, args):
    if name == 'index':  # by a mask: how many it takes must be known
        return any(i is not None and i.dtype == torch.bool for i in args[1])
    return name in READS or 'unique' in name


def _on_host(tensor):
    base = tensor if tensor._base is None else tensor._base
    return hasattr(base, 'on_host')
