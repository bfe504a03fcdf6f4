"""Keeps an activated norm from being replaced by something without activation.

Tools that fold a batch norm into the conv before it, or that turn it into
another norm, take whatever is a ``_BatchNorm`` and know nothing of an
activation inside.  None of them asks.  But all of them read eps: to add it to
the variance, or to build the other norm.
"""

import re
import sys
from collections.abc import Callable
from typing import Any

from ..common.errors import UserError

__all__ = ['GuardedEps']

# Names of the functions of torch, mmengine, timm and apex that build another
# norm, such as convert_sync_batchnorm.
CONVERTERS = re.compile(r'(convert|replace|freeze)\w*(bn|batch_?norm)')


class _Eps(float):
    """A number that cannot be added to a tensor."""

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Any, args: Any = (), kwargs: Any = None
    ) -> None:
        raise UserError(
            'An InPlaceABN with an activation cannot be folded into a conv or a '
            'linear layer, or computed as one with it (fuse_conv_bn, '
            'efficient_conv_bn_eval and the like): the result would lack the '
            "leaky ReLU. Leave this norm as it is; or build it as type='BN' "
            "(or with activation='identity') with a LeakyReLU of the same slope "
            'after it, which takes the same weights and can be folded. '
            'For the number alone use float(norm.eps)'
        )


class GuardedEps:
    """The attribute eps of a norm; guarded where the norm has an activation.

    Raises:
        TypeError: Read by a function that builds another norm from this one.
        UserError: Added to a tensor, as only who folds the norm does.
    """

    def __get__(self, norm: Any, owner: type) -> Any:
        if norm is None:
            return self
        eps = norm._eps
        if getattr(norm, 'activation', 'identity') == 'identity':
            return eps
        if CONVERTERS.search(sys._getframe(1).f_code.co_name):
            raise TypeError(
                f'{owner.__name__} with an activation cannot be converted to '
                'another norm such as SyncBatchNorm: that would drop its '
                'activation. Remove sync_bn from the config and use '
                "norm_cfg=dict(type='SyncInPlaceABN')"
            )
        return _Eps(eps)

    def __set__(self, norm: Any, value: float) -> None:
        eps = float(value) if isinstance(value, _Eps) else value
        # By its own name, too: torch prints a norm by its __dict__.
        vars(norm).update(eps=eps, _eps=eps)
