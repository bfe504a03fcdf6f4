"""torch's own samples of BatchNorm1d, 2d and 3d, given to the norm.

The samples are those of torch.testing's module_db; the checks are ours, after
those that torch's test suite makes of every module.  `python FILE` prints how
many pass, for each norm.
"""

import copy
import io
from functools import partial

import pytest
import torch
import torch.nn as nn
from torch.autograd import gradcheck, gradgradcheck

from tresnet_det import InPlaceABN, SyncInPlaceABN

common = pytest.importorskip(
    'torch.testing._internal.common_modules', exc_type=ImportError
)

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
    kwargs = dict(device='meta', dtype=torch.float64)
    module = s.make(**kwargs)
    close(
        [t.device for t in module.parameters()],
        [torch.device('meta')] * len([*module.parameters()]),
    )


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


def outcomes(make, dtypes=(torch.float32, torch.float64)):
    """For each class, sample, mode, dtype and check: whether it passes."""
    passed = {}
    for cls in CLASSES:
        info = next(i for i in common.module_db if i.module_cls is cls)
        for dtype in dtypes:
            for training in (True, False):
                torch.manual_seed(0)
                entries = info.module_inputs_func(
                    info,
                    device='cpu',
                    dtype=dtype,
                    requires_grad=True,
                    training=training,
                )
                for entry in entries:
                    sample = Sample(make or cls, entry, dtype, training)
                    for check in CHECKS:
                        key = (
                            cls.__name__,
                            entry.desc,
                            training,
                            dtype,
                            check.__name__,
                        )
                        passed[key] = succeeds(check, sample)
                passed.update(errors(make or cls, info, dtype, training))
    return passed


def errors(make, info, dtype, training):
    """torch's samples that must be refused."""
    if not info.module_error_inputs_func:
        return
    for entry in info.module_error_inputs_func(
        info, device='cpu', dtype=dtype, requires_grad=False, training=training
    ):
        given = entry.module_error_input.constructor_input
        module = make(*given.args, **given.kwargs).to(dtype)
        x = entry.module_error_input.forward_input.args[0]
        try:
            module(x)
            refused = False
        except entry.error_type as error:
            refused = 'eps must be positive' in str(error)
        yield (info.module_cls.__name__, str(given.kwargs), training, dtype), refused


def succeeds(check, sample):
    try:
        check(sample)
    except Exception:
        return False
    return True


@pytest.mark.parametrize('make', OURS)
def test_whatever_batch_norm_passes_passes(make):
    dtypes = (torch.float64,)
    theirs, ours = outcomes(None, dtypes), outcomes(make, dtypes)
    assert sum(theirs.values()) > 600
    assert [key for key, ok in theirs.items() if ok and not ours[key]] == []


if __name__ == '__main__':
    for name, make in (('batch norm', None), *((m.func.__name__, m) for m in OURS)):
        passed = outcomes(make)
        print(name, sum(passed.values()), 'of', len(passed))
        failed = {}
        for key, ok in passed.items():
            if not ok:
                failed[key[-1]] = failed.get(key[-1], 0) + 1
        print('   failed:', failed)
