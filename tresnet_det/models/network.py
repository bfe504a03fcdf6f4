"""TResNet as a network of torch alone; `backbone` brings it to MMDetection.

Source: "TResNet: High Performance GPU-Dedicated Architecture",
arXiv:2003.13630, sections 2 and 3; where paper and official code differ (the
stem is a 3x3 conv, not 1x1), the code and so the published weights decide.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.fx
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..weights.archs import ARCHS, Arch
from .abn import InPlaceABN, SyncInPlaceABN, check_slope
from .bypass import may_bypass, norm_act
from .conv_norm import conv_norm
from .layers import BlurPool, SpaceToDepth, SqueezeExcite, conv_of_blocks
from .looks import looked_at
from .tracing import scriptable, torch_operators_wanted

__all__ = ['ARCHS', 'Arch', 'BasicBlock', 'Bottleneck', 'Network']

NORMS: dict[str, type[_BatchNorm]] = {
    'InPlaceABN': InPlaceABN,
    'SyncInPlaceABN': SyncInPlaceABN,
    'BN': nn.BatchNorm2d,
    'SyncBN': nn.SyncBatchNorm,
}
MIN_SIZE = 32


class _Norms:
    """Builds the norms of one backbone and what follows them."""

    def __init__(self, cfg: dict) -> None:
        if not isinstance(cfg, dict) or cfg.get('type') not in NORMS:
            raise ValueError(
                f'norm_cfg is {cfg!r}, expected a dict whose '
                f"'type' is one of {tuple(NORMS)}"
            )
        if not cfg.get('eps', 1e-5) > 0:
            raise ValueError(f"norm_cfg's eps is {cfg['eps']!r}, expected above 0")
        options = dict(cfg)
        self.type = options.pop('type')
        self.in_place = 'InPlaceABN' in self.type
        if self.in_place:
            options['activation'] = 'identity'
        # As mmcv's build_norm_layer has it.
        self.trained = options.pop('requires_grad', True)
        self.options = options

    def __call__(self, channels: int) -> _BatchNorm:
        return NORMS[self.type](channels, **self.options).requires_grad_(self.trained)

    def activation(self, slope: float) -> nn.LeakyReLU:
        """The leaky ReLU after a norm.

        In-place norms take it in where they can, see `norm_act`.  They have
        none of their own, so that whatever folds or replaces a norm leaves
        the activation where it is.
        """
        if self.in_place:
            check_slope(slope)
        return nn.LeakyReLU(slope, inplace=True)


class _Shortcut(nn.Module):
    """Average pool (stride 2 only), 1x1 conv, norm."""

    def __init__(
        self, inplanes: int, planes: int, stride: int, norms: _Norms, lean: bool
    ) -> None:
        super().__init__()
        self.lean = lean
        # The last row or column of an odd map is averaged over what is there.
        self.pool = (
            nn.Identity()
            if stride == 1
            else nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
        )
        self.conv = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn = norms(planes)

    def forward(self, x: Tensor) -> Tensor:
        if may_bypass(self.bn, self.conv, self.pool):
            pool = isinstance(self.pool, nn.AvgPool2d)
            return conv_norm(x, self.conv, self.bn, pool=pool, lean=self.lean)
        return self.bn(self.conv(self.pool(x)))


class _SameStatistics:
    """Keeps a checkpoint's second forward out of running statistics.

    A class, because a graph that is retained enters it more than once.
    """

    def __init__(self, block: nn.Module) -> None:
        self.norms: list[Any] = [
            m for m in block.modules() if isinstance(m, _BatchNorm)
        ]
        # What the first forward knows of the norms' values, the second does.
        self.looks = [getattr(m, 'look', None) for m in self.norms]

    def __enter__(self) -> None:
        self.kept = [
            (m.momentum, m.num_batches_tracked, getattr(m, 'look', None))
            for m in self.norms
        ]
        for norm, look in zip(self.norms, self.looks):
            self._set(norm, 0.0, None, look)

    def __exit__(self, *_: object) -> None:
        for norm, kept in zip(self.norms, self.kept):
            self._set(norm, *kept)

    @staticmethod
    def _set(norm: Any, momentum: float, count: Tensor | None, look: Any) -> None:
        norm.momentum, norm.num_batches_tracked = momentum, count
        if isinstance(norm, InPlaceABN):
            norm.look = look


class _Block(nn.Module):
    """What both residual blocks share: the sum, and what may be recomputed."""

    expansion: int
    activated: tuple[str, ...]  # the norms that act follows

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int,
        norms: _Norms,
        slope: float,
        with_cp: bool,
        lean: bool,
    ) -> None:
        super().__init__()
        self.with_cp, self.lean = with_cp, lean
        out = planes * self.expansion
        self.act = norms.activation(slope)
        self.blur = BlurPool(planes) if stride == 2 else nn.Identity()
        self.downsample = (
            None
            if stride == 1 and inplanes == out
            # From a map wider than the block itself, its conv costs too much.
            else _Shortcut(inplanes, out, stride, norms, lean and inplanes <= planes)
        )

    def residual_unseen(self) -> bool:
        """Whether nobody but the sum is given what the residual branch returns."""
        raise NotImplementedError

    def residual(self, x: Tensor) -> Tensor:
        """The branch beside the shortcut, up to its last norm."""
        raise NotImplementedError

    def _forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.residual(x)
        # In place a map less is made. But what a hook or another residual() keeps must
        # not be changed.
        if self.residual_unseen() and out.dtype == shortcut.dtype:
            out += shortcut
        else:
            out = out + shortcut
        return F.relu_(out)

    def forward(self, x: Tensor) -> Tensor:
        # A compiler decides by itself what to compute again.
        if self.with_cp and not torch_operators_wanted() and x.requires_grad:
            return checkpoint(
                self._forward,
                x,
                use_reentrant=False,
                context_fn=lambda: (nullcontext(), _SameStatistics(self)),
            )
        return self._forward(x)


class BasicBlock(_Block):
    """3x3 conv, 3x3 conv, squeeze-and-excitation (stages 1 and 2)."""

    expansion = 1
    activated = ('bn1',)

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int,
        norms: _Norms,
        slope: float,
        with_cp: bool,
        use_se: bool,
        lean: bool,
    ) -> None:
        super().__init__(inplanes, planes, stride, norms, slope, with_cp, lean)
        self.conv1 = nn.Conv2d(inplanes, planes, 3, padding=1, bias=False)
        self.bn1 = norms(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = norms(planes)
        self.se = SqueezeExcite(planes, max(planes // 4, 64)) if use_se else None

    def residual_unseen(self) -> bool:
        return type(self) is BasicBlock and may_bypass(self.bn2, self.se)

    def residual(self, x: Tensor) -> Tensor:
        out = self.blur(norm_act(self.bn1, self.act, self.conv1(x)))
        out = self.conv2(out)
        if self.se is None:
            return self.bn2(out)
        if may_bypass(self.bn2, self.se):
            return self.bn2.forward_gated(out, self.se.gate)
        return self.se(self.bn2(out))


class Bottleneck(_Block):
    """1x1 conv, 3x3 conv, squeeze-and-excitation, 1x1 conv."""

    expansion = 4
    activated = ('bn1', 'bn2')

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int,
        norms: _Norms,
        slope: float,
        with_cp: bool,
        use_se: bool,
        lean: bool,
    ) -> None:
        super().__init__(inplanes, planes, stride, norms, slope, with_cp, lean)
        out = planes * self.expansion
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = norms(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = norms(planes)
        self.se = SqueezeExcite(planes, max(out // 8, 64)) if use_se else None
        self.conv3 = nn.Conv2d(planes, out, 1, bias=False)
        self.bn3 = norms(out)

    def residual_unseen(self) -> bool:
        own = type(self) is Bottleneck
        return own and may_bypass(self.bn3, self.conv3, self.se)

    def residual(self, x: Tensor) -> Tensor:
        out = norm_act(self.bn1, self.act, self.conv1(x))
        out = self.blur(norm_act(self.bn2, self.act, self.conv2(out)))
        if may_bypass(self.bn3, self.conv3, self.se):
            gate = None if self.se is None else self.se.gate(out)
            return conv_norm(out, self.conv3, self.bn3, gate, lean=self.lean)
        if self.se is not None:
            out = self.se(out)
        return self.bn3(self.conv3(out))


class Network(nn.Module):
    """TResNet M, L, XL or V2-L without its classifier.

    Arguments, shapes and errors are those of `backbone.TResNet`, which adds init_cfg.
    """

    def __init__(
        self,
        arch: str | dict = 'm',
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_cfg: dict | None = None,
        norm_eval: bool = True,
        with_cp: bool | Sequence[int] = False,
        recompute_last_conv: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        spec = _arch(arch)
        norms = _Norms(dict(type='InPlaceABN') if norm_cfg is None else norm_cfg)
        if not isinstance(in_channels, int) or in_channels < 1:
            raise ValueError(f'in_channels is {in_channels!r}, expected a positive int')
        indices = tuple(out_indices) if isinstance(out_indices, Sequence) else ()
        if (
            not indices
            or any(i not in range(4) for i in indices)
            or list(indices) != sorted(set(indices))
        ):
            raise ValueError(
                f'out_indices is {out_indices!r}, expected increasing stage '
                'numbers out of (0, 1, 2, 3)'
            )
        stages_again = (
            (range(4) if with_cp else ()) if isinstance(with_cp, bool) else with_cp
        )
        if not isinstance(stages_again, Sequence) or any(
            i not in range(4) for i in stages_again
        ):
            raise ValueError(
                f'with_cp is {with_cp!r}, expected True, False or stage numbers out '
                'of (0, 1, 2, 3)'
            )
        if frozen_stages not in range(-1, 5):
            raise ValueError(
                f'frozen_stages is {frozen_stages!r}, expected '
                '-1 (none), 0 (stem) or 1 to 4'
            )
        if recompute_last_conv and not norms.in_place:
            raise ValueError(
                'recompute_last_conv needs norm_cfg type InPlaceABN or '
                f'SyncInPlaceABN, not {norms.type!r}'
            )
        self.arch = arch if isinstance(arch, str) else 'custom'
        self.in_channels = in_channels
        self.out_indices = indices
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.channels_last = channels_last

        self.space_to_depth = SpaceToDepth()
        self.conv1 = nn.Conv2d(
            in_channels * SpaceToDepth.block**2, spec.width, 3, padding=1, bias=False
        )
        self.bn1 = norms(spec.width)
        self.act = norms.activation(spec.stem_slope)
        channels, stages = spec.width, []
        for i in range(max(indices) + 1):
            block = Bottleneck if spec.bottleneck[i] else BasicBlock
            planes = spec.width * 2**i
            blocks = []
            for j in range(spec.depths[i]):
                blocks.append(
                    block(
                        channels,
                        planes,
                        2 if i > 0 and j == 0 else 1,
                        norms,
                        spec.slope,
                        i in stages_again,
                        use_se=i < 3,
                        lean=recompute_last_conv,
                    )
                )
                channels = planes * block.expansion
            self.add_module(f'layer{i + 1}', nn.Sequential(*blocks))
            stages.append(channels)
        self.out_channels = tuple(stages[i] for i in indices)
        self._reset_parameters()
        self._freeze_stages()
        if channels_last:
            self.to(memory_format=torch.channels_last)

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """The built stages, layer1 first."""
        return tuple(
            getattr(self, f'layer{i + 1}') for i in range(max(self.out_indices) + 1)
        )

    def _reset_parameters(self) -> None:
        """Initialise as the paper's code does."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(
                    module.weight, mode='fan_out', nonlinearity='leaky_relu'
                )
            elif isinstance(module, (BasicBlock, Bottleneck)):
                # A block starts as its shortcut.
                last = module.bn2 if isinstance(module, BasicBlock) else module.bn3
                nn.init.zeros_(last.weight)

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        for module in (self.conv1, self.bn1, *self.stages[: self.frozen_stages]):
            module.eval()
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> 'Network':
        """Set the mode, but for frozen stages and, by norm_eval, norms."""
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = _whole_blocks(x, self.in_channels)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        if may_bypass(self.bn1, self.conv1, self.space_to_depth, kernel=3):
            x = conv_of_blocks(x, self.conv1.weight)
        else:
            x = self.conv1(self.space_to_depth(x))
        if torch_operators_wanted() or x.is_meta or not torch.is_grad_enabled():
            return self._maps(x)
        with looked_at(self._activated(), x.dtype):
            return self._maps(x)

    def _activated(self) -> Iterator[tuple[InPlaceABN, float]]:
        """The norms that take in a leaky ReLU, and its slopes."""
        pairs: list[tuple[nn.Module, nn.LeakyReLU]] = [(self.bn1, self.act)]
        for block in (b for stage in self.stages for b in stage.children()):
            if isinstance(block, _Block):
                pairs += [(getattr(block, name), block.act) for name in block.activated]
        for norm, act in pairs:
            if may_bypass(norm, act):
                yield norm, act.negative_slope

    def _maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """All that follows the first conv."""
        x = norm_act(self.bn1, self.act, x)
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                # mmcv's RoIAlign reads a channels-last map as if it were none.
                outs.append(x.contiguous() if self.channels_last else x)
        return tuple(outs)

    def __prepare_scriptable__(self) -> nn.Module:
        return scriptable(self)


@torch.fx.wrap
def _whole_blocks(x: Tensor, channels: int, least: int = MIN_SIZE) -> Tensor:
    """The checked image, with zeros added at the right and the bottom.

    A function that torch.fx leaves whole, since it looks at sizes.
    """
    # In a trace a size is no number and cannot be compared.
    if not torch.jit.is_tracing():
        if (
            x.dim() != 4
            or x.shape[1] != channels
            or x.shape[2] < least
            or x.shape[3] < least
        ):
            raise ValueError(
                f'The input has shape {list(x.shape)}, expected (N, {channels}, '
                f'H, W) with H and W at least {least}'
            )
    # Written so that a symbolic size is seen to be a multiple of 4.
    bottom = 4 * ((x.shape[2] + 3) // 4) - x.shape[2]
    right = 4 * ((x.shape[3] + 3) // 4) - x.shape[3]
    if torch_operators_wanted() or bottom != 0 or right != 0:
        x = F.pad(x, (0, right, 0, bottom))
    return x


def _arch(arch: Any) -> Arch:
    if isinstance(arch, str) and arch in ARCHS:
        return ARCHS[arch]
    if isinstance(arch, dict):
        try:
            spec = Arch(**arch)
        except TypeError as error:
            raise ValueError(
                f'arch is {arch!r}, expected a dict with the '
                f'fields {Arch._fields}: {error}'
            ) from None
        if not len(spec.depths) == len(spec.bottleneck) == 4:
            raise ValueError(
                f'arch is {arch!r}, expected depths and bottleneck of four stages'
            )
        return spec
    raise ValueError(
        f'arch is {arch!r}, expected one of {tuple(ARCHS)} or a '
        f'dict with the fields {Arch._fields}'
    )
