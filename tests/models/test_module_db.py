"""torch's own samples of BatchNorm1d, 2d and 3d, given to the norm.

The samples are those of torch.testing's module_db; the checks are ours, after
those that torch's test suite makes of every module.  `python FILE` prints how
many pass, for each norm.
"""

import copy
import io
import itertools
from collections import Counter
from functools import partial

import pytest
import torch
import torch.nn as nn
from torch.autograd import gradcheck, gradgradcheck

from tresnet_det import InPlaceABN, SyncInPlaceABN

common = pytest.importorskip(
    'torch.testing._internal.common_modules', exc_type=ImportError
)
# Importing it forbids all who come later to set flags of cudnn.
torch.backends.disable_global_flags.__globals__[
    '__allow_nonbracketed_mutation_flag'
] = True

CLASSES = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
OURS = tuple(
    partial(cls, activation='identity') for cls in (InPlaceABN, SyncInPlaceABN)
)


class Sample:
    """One sample of torch's as a factory of modules and inputs."""

    def __init__(self, make, entry, dtype, training):
        given = entry.constructor_input
        self.make = lambda **more: (
            make(*given.args, **given.kwargs, **more).to(dtype).train(training)
        )
        # What the sample describes, as torch computes it.
        reference = getattr(
            nn, f'BatchNorm{entry.forward_input.args[0].dim() - 2 or 1}d'
        )
        self.reference = lambda: (
            reference(*given.args, **given.kwargs).to(dtype).train(training)
        )
        self.x = entry.forward_input.args[0].detach()
        self.dtype, self.training = dtype, training

    def leaf(self, x=None):
        return (self.x if x is None else x).detach().clone().requires_grad_()


def results(module, x):
    """Output, gradients and buffers."""
    y = module(x)
    leaves = [x, *module.parameters()]
    grads = torch.autograd.grad(y.square().sum(), leaves) if y.requires_grad else ()
    return [y, *grads, *module.buffers()]


def close(got, want):
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def check_forward(s):
    with torch.no_grad():
        close(s.make()(s.x), s.reference()(s.x))


def check_gradients(s):
    close(results(s.make(), s.leaf()), results(s.reference(), s.leaf()))


def check_factory(s):
    tensors = [*s.make(device='meta').parameters(), *s.make(device='meta').buffers()]
    assert all(t.is_meta for t in tensors)


def check_to_empty(s):
    module = s.make().to('meta').to_empty(device='cpu')
    module.load_state_dict(s.make().state_dict())
    close(results(module, s.leaf()), results(s.reference(), s.leaf()))


def check_pickle(s):
    module, buffer = s.make(), io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    twin = torch.load(buffer, weights_only=False)  # written just above
    close(results(twin, s.leaf()), results(module, s.leaf()))


def check_state_dict(s):
    module = s.make()
    module.load_state_dict(s.reference().state_dict(), strict=True)
    close(results(copy.deepcopy(module), s.leaf()), results(s.reference(), s.leaf()))


def check_repr(s):
    assert f'{s.make().num_features}, eps={s.make().eps}' in repr(s.make())


def check_non_contiguous(s):
    wide = torch.stack([s.x, s.x], -1)[..., 0]
    close(results(s.make(), s.leaf(wide)), results(s.reference(), s.leaf()))


def check_memory_format(s):
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    memory_format = formats.get(s.x.dim(), torch.contiguous_format)
    x = s.x.contiguous(memory_format=memory_format).requires_grad_()
    got = results(s.make(), x)
    close(got, results(s.reference(), s.leaf()))
    assert got[0].is_contiguous(memory_format=memory_format)


def check_train_and_eval_differ(s):
    module = s.make()
    assert (
        len(s.x) == 0
        or not module.track_running_stats
        or not torch.equal(module.train()(s.x), module.eval()(s.x))
    )


def check_gradcheck(s):
    if s.dtype == torch.float64:
        module = s.make()
        module.momentum = 0.0  # the function must not change between calls
        assert gradcheck(module, s.leaf())


def check_gradgradcheck(s):
    if s.dtype == torch.float64:
        module = s.make()
        module.momentum = 0.0
        assert gradgradcheck(module, s.leaf())


def check_forward_derivative(s):
    module = s.make()
    module.momentum = 0.0
    got = torch.func.jvp(module, (s.x,), (s.x.cos(),))
    reference = s.reference()
    reference.momentum = 0.0
    close(got, torch.func.jvp(reference, (s.x,), (s.x.cos(),)))


def check_func_grad(s):
    def loss(module, x):
        return module(x).square().sum()

    close(
        torch.func.grad(partial(loss, s.make()))(s.x),
        torch.func.grad(partial(loss, s.reference()))(s.x),
    )


def check_trace(s):
    module = s.make()
    with torch.no_grad():
        traced = torch.jit.trace(copy.deepcopy(module), s.x, check_trace=False)
        close(traced(s.x), module(s.x))


CHECKS = [value for name, value in list(globals().items()) if name.startswith('check_')]


def cases(make, dtypes=(torch.float32, torch.float64)):
    """Names, and what passes if it returns True, for every sample and check."""
    for cls, dtype, training in itertools.product(CLASSES, dtypes, (True, False)):
        torch.manual_seed(0)
        info = next(i for i in common.module_db if i.module_cls is cls)
        place = cls.__name__, dtype, training
        given = info, 'cpu', dtype, True, training
        for entry in info.module_inputs_func(*given):
            sample = Sample(make or cls, entry, dtype, training)
            for check in CHECKS:
                name = (*place, entry.desc, check.__name__)
                yield name, partial(succeeds, check, sample)
        if info.module_error_inputs_func:
            for entry in info.module_error_inputs_func(*given):
                name = (
                    *place,
                    entry.module_error_input.constructor_input.kwargs,
                    'eps',
                )
                yield name, partial(refused, make or cls, entry)


def refused(make, entry):
    """Whether a sample that torch refuses is refused, in the same words."""
    given = entry.module_error_input.constructor_input
    module = make(*given.args, **given.kwargs)
    try:
        module(entry.module_error_input.forward_input.args[0].float())
    except entry.error_type as error:
        return 'eps must be positive' in str(error)
    return False


def succeeds(check, sample):
    try:
        check(sample)
    except Exception:
        return False
    return True


def test_whatever_batch_norm_passes_passes():
    names, worse = [], []
    ours, theirs = (cases(make, (torch.float64,)) for make in (OURS[0], None))
    for (name, passes), (_, batch_norm_passes) in zip(ours, theirs):
        names.append(name)
        if not passes() and batch_norm_passes():
            worse.append(name)
    assert worse == [] and len(names) > 500


if __name__ == '__main__':
    for title, make in (('batch norm', None), *((m.func.__name__, m) for m in OURS)):
        outcomes = [(name[-1], passes()) for name, passes in cases(make)]
        failed = Counter(check for check, ok in outcomes if not ok)
        passing = len(outcomes) - failed.total()
        print(f'{title}: {passing} of {len(outcomes)} pass; failed: {dict(failed)}')
