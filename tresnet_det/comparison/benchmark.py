"""Memory and time of backbones: bytes kept for backward, paired step times."""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import (
    Any,
    NamedTuple,
)

import torch
import torch.nn as nn
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from ..common.errors import UserError
from ..common.paired import paired_rounds, ratio
from .kept import bytes_kept_by

__all__ = [
    'Row',
    'build_backbone',
    'kept_bytes',
    'maps_of',
    'measure',
    'paired_times',
    'peak_bytes',
    'shares',
    'train_step',
]

MIB = 2**20
COMPILERS = dict(compiled='inductor', partitioned='aot_eager_decomp_partition')


def build_backbone(name: str, training: bool = True) -> nn.Module:
    """Build a backbone that returns four maps, by name.

    Args:
        name: 'resnet50' (mmdet's), 'timm:ARCH' (timm's TResNet with batch
            norm), or 'ARCH:MODE' with MODE one of 'inplace', 'recompute',
            'both' (that, and the first two stages computed again), 'cp', 'bn'
            and 'deployed' (folded, for inference alone); ARCH is m, l, xl or
            v2_l.  With ':compiled' after it, by torch.compile, for one size;
            with ':partitioned', the same without the kernels: it keeps what the
            compiler decides to keep.
        training: Norms use batch statistics; else the whole is in eval().

    Raises:
        UserError: Another name.
    """
    from ..deployment.folding import deployed
    from ..deployment.packed import packed
    from ..models.backbone import TResNet
    from ..weights.archs import ARCHS

    plain, _, last = name.rpartition(':')
    if last in COMPILERS:
        compiled = build_backbone(plain, training)
        compiled.compile(backend=COMPILERS[last], dynamic=False)
        return compiled
    kind, _, arch = name.partition(':')
    modes: dict[str, dict[str, Any]] = {
        'inplace': {},
        'recompute': dict(recompute_last_conv=True),
        'both': dict(recompute_last_conv=True, with_cp=(0, 1)),
        'cp': dict(with_cp=True),
        'bn': dict(norm_cfg=dict(type='BN')),
        'deployed': {},
    }
    model: nn.Module
    if name == 'resnet50':
        from mmdet.models import ResNet

        model = ResNet(50, norm_eval=False)
    elif kind == 'timm' and arch in ARCHS:
        import timm

        model = timm.create_model(
            f'tresnet_{arch}', features_only=True, out_indices=(1, 2, 3, 4)
        )
    elif kind in ARCHS and arch in modes:
        model = TResNet(kind, norm_eval=False, **modes[arch])
        if arch == 'deployed':
            return packed(deployed(model))
    else:
        raise UserError(
            f'The backbone is {name!r}, expected resnet50, timm:ARCH or '
            f'ARCH:MODE with ARCH in {tuple(ARCHS)} and MODE in '
            f'{tuple(modes)}, or one of these and :compiled or :partitioned'
        )
    model.train(training)  # mmdet's returns nothing
    return model


def maps_of(model: nn.Module, x: Tensor, dtype: torch.dtype) -> Sequence[Tensor]:
    """Forward in ``dtype``; half precision by autocast, as in training."""
    half = dtype in (torch.bfloat16, torch.float16)
    with torch.autocast(x.device.type, dtype if half else None, enabled=half):
        return model(x)


def train_step(
    model: nn.Module,
    x: Tensor,
    dtype: torch.dtype = torch.float32,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """One forward and backward of a loss that reaches every map.

    The loss is the sum of the maps' mean squares; gradients are dropped, after a step
    of the optimizer if there is one.
    """
    maps = maps_of(model, x, dtype)
    torch.stack([y.float().square().mean() for y in maps]).sum().backward()
    if optimizer is not None:
        optimizer.step()
    model.zero_grad(set_to_none=True)


def kept_bytes(model: nn.Module, x: Tensor, dtype: torch.dtype = torch.float32) -> int:
    """Bytes that autograd keeps for backward after ``model(x)``.

    Args:
        model: Backbone that returns maps, in the mode to be measured.
        x: Images of shape (N, 3, H, W).
        dtype: Type of the maps.
    """
    return bytes_kept_by(
        partial(maps_of, model, x, dtype), (*model.parameters(), *model.buffers(), x)
    )


def peak_bytes(
    model: nn.Module, x: Tensor, dtype: torch.dtype = torch.float32
) -> int | None:
    """Peak memory of a training step beyond the model's, on CUDA only."""
    if not x.is_cuda:
        return None
    train_step(model, x, dtype)
    torch.cuda.synchronize(x.device)
    torch.cuda.reset_peak_memory_stats(x.device)
    before = torch.cuda.memory_allocated(x.device)
    train_step(model, x, dtype)
    torch.cuda.synchronize(x.device)
    return torch.cuda.max_memory_allocated(x.device) - before


def paired_times(
    steps: dict[str, Callable[[], None]], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """Time several steps in turn, round by round.

    Args:
        steps: What is timed, by name.
        repeats: Rounds that count; two come before as warm-up.
        device: Synchronised before and after each step if it is CUDA.

    Returns:
        For each name, seconds of each round.
    """

    def synchronise() -> None:
        if device.type == 'cuda':
            torch.cuda.synchronize(device)

    times = paired_rounds(steps, repeats, synchronise)
    return {name: [seconds.wall for seconds in own] for name, own in times.items()}


def shares(step: Callable[[], None], device: torch.device) -> dict[str, float]:
    """Which part of a step's time is spent in which kind of operator.

    Args:
        step: It is called four times; the last time is looked at.
        device: Whose time counts.

    Returns:
        'convolution', 'batch norm' and 'other', which are 1 together.
    """
    for _ in range(3):  # what is packed or compiled is by then
        step()
    cuda = device.type == 'cuda'
    with profile(
        activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    ) as profiler:
        step()
    found = dict.fromkeys(('convolution', 'batch norm', 'other'), 0.0)
    for event in profiler.key_averages():
        if event.device_type != DeviceType.CPU:
            continue  # kernels, whose time their operators have
        if 'conv' in event.key:
            kind = 'convolution'
        elif 'batch_norm' in event.key:
            kind = 'batch norm'
        else:
            kind = 'other'
        if not cuda:
            found[kind] += event.self_cpu_time_total
        elif hasattr(event, 'self_device_time_total'):
            found[kind] += event.self_device_time_total
        else:  # torch 2.1
            found[kind] += event.self_cuda_time_total
    return {kind: time / sum(found.values()) for kind, time in found.items()}


class Row(NamedTuple):
    """Figures of one backbone; ratios are to the first row's.

    Attributes:
        name: As given to `build_backbone`.
        params: Number of parameters; None of a network that has none left.
        kept, kept_ratio: MiB kept for backward per image in training mode.
        train, train_ratio: Seconds of a training step, median of the rounds.
            None, as what is kept, of a network for inference alone.
        infer, infer_ratio: Seconds of inference, in eval() without gradients.
        peak: MiB of a training step per image on CUDA, or None.
        shares: Of the kinds of operators in 'training' (a step) and 'inference',
            if they were asked for.
    """

    name: str
    params: int | None
    kept: float | None
    kept_ratio: float | None
    train: float | None
    train_ratio: float | None
    infer: float | None
    infer_ratio: float | None
    peak: float | None
    shares: dict[str, dict[str, float]]


def measure(
    names: Sequence[str],
    size: tuple[int, int],
    batch: int,
    dtype: torch.dtype,
    device: torch.device,
    repeats: int,
    operators: bool = False,
) -> list[Row]:
    """Measure backbones in training mode and in inference, in one run.

    Args:
        names: As taken by `build_backbone`; the first is the base of ratios.
        size: Height and width of the images.
        batch: Images in a batch.
        dtype: float32, float64, or a half type for autocast.
        device: Where to run.
        repeats: Rounds that are timed; 0 for the memory alone.
        operators: Find the shares of the kinds of operators too.
    """
    weights = dtype if dtype == torch.float64 else torch.float32
    x = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0)).to(
        device, weights
    )
    models: dict[str, nn.Module] = {}
    trained: dict[str, nn.Module] = {}
    kept: dict[str, float] = {}
    peak: dict[str, float] = {}
    for name in names:
        torch.manual_seed(0)
        models[name] = model = build_backbone(name).to(device, weights)
        if not any(value.requires_grad for value in model.parameters()):
            continue
        trained[name] = model
        kept[name] = kept_bytes(model, x, dtype) / batch / MIB
        top = peak_bytes(model, x, dtype)
        if top is not None:
            peak[name] = top / batch / MIB

    @torch.no_grad()
    def infer(model: nn.Module) -> None:
        maps_of(model, x, dtype)

    steps_of: dict[str, dict[str, Callable[[], None]]] = dict(
        training={n: partial(train_step, m, x, dtype) for n, m in trained.items()},
        inference={n: partial(infer, m) for n, m in models.items()},
    )
    parts: dict[str, dict[str, dict[str, float]]] = {name: {} for name in names}
    times: dict[str, dict[str, list[float]]] = {}
    for kind, steps in steps_of.items():
        for model in trained.values():
            model.train(kind == 'training')
        if operators:
            for name, step in steps.items():
                parts[name][kind] = shares(step, device)
        times[kind] = paired_times(steps, repeats, device) if repeats else {}

    def figures(of: dict[str, list[float]], name: str) -> tuple[Any, Any]:
        if name not in of:
            return None, None
        base = of.get(names[0])
        return statistics.median(of[name]), base and ratio(of[name], base)

    return [
        Row(
            name,
            sum(p.numel() for p in models[name].parameters()) or None,
            kept.get(name),
            kept[name] / kept[names[0]] if {name, names[0]} <= kept.keys() else None,
            *figures(times['training'], name),
            *figures(times['inference'], name),
            peak.get(name),
            parts[name],
        )
        for name in names
    ]
