"""Tells when torch's own operators are wanted in place of ours."""

import torch
import torch.nn as nn
from torch.autograd import forward_ad
from torch.fx import GraphModule, Tracer
from torch.nn.modules.batchnorm import _BatchNorm

try:
    from torch.compiler import is_compiling
except ImportError:  # torch 2.1 and 2.2
    from torch._utils import is_compiling
try:
    from torch.fx._symbolic_trace import is_fx_symbolic_tracing
except ImportError:  # older than 2.8; newer ones warn about the older name
    from torch.fx._symbolic_trace import is_fx_tracing as is_fx_symbolic_tracing

__all__ = ['scriptable', 'torch_operators_wanted']


def torch_operators_wanted() -> bool:
    """True in a compiler, script and trace, in torch.func and forward mode.

    A compiler differentiates by itself and decides what to keep and what to
    compute again; a trace is read by tools that count or export operators;
    the others differentiate and batch what they know, which is not ours.
    """
    if torch.jit.is_scripting():
        return True
    else:
        return (
            is_compiling()
            or torch.jit.is_tracing()
            or is_fx_symbolic_tracing()
            or torch._C._are_functorch_transforms_active()
            or forward_ad._current_level >= 0
        )


def scriptable(module: nn.Module) -> GraphModule:
    """The module as a graph that torch.jit.script takes.

    Its tensors are those of the module.  Norms without activation are torch's
    own, so that train() and eval() of the script reach them.
    """

    class NormsWhole(Tracer):
        def is_leaf_module(self, m: nn.Module, qualified_name: str) -> bool:
            return isinstance(m, _BatchNorm) or super().is_leaf_module(
                m, qualified_name
            )

    graph = NormsWhole().trace(module)
    # A script wants a tuple's length, which it sees, and not `tuple[T, ...]`.
    next(node for node in graph.nodes if node.op == 'output').type = None
    scripted = GraphModule(module, graph)
    for name, norm in list(scripted.named_modules()):
        # An activated norm stays what it is, and is refused by the script.
        identity = getattr(norm, 'activation', 'identity') == 'identity'
        if isinstance(norm, _BatchNorm) and identity:
            parent, _, own_name = name.rpartition('.')
            setattr(scripted.get_submodule(parent), own_name, _torch_norm(norm))
    return scripted


def _torch_norm(norm: _BatchNorm) -> nn.BatchNorm2d:
    """torch's norm with everything that is the given one's, hooks included."""
    twin = nn.BatchNorm2d.__new__(nn.BatchNorm2d)
    twin.__dict__ = dict(vars(norm), eps=norm.eps)
    return twin
