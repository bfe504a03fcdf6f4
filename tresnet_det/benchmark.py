"""Memory and time of backbones: bytes kept for backward, paired step times."""
import statistics
import time
from typing import Callable, Dict, List, Optional, Sequence

import torch
import torch.nn as nn
from torch import Tensor

__all__ = ['build_backbone', 'kept_bytes', 'paired_times', 'peak_bytes',
           'train_step']

MIB = 2**20


def build_backbone(name: str, training: bool = True) -> nn.Module:
    """Build a backbone that returns four maps, by name.

    Args:
        name: 'resnet50' (mmdet's), 'timm:ARCH' (timm's TResNet with batch
            norm), or 'ARCH:MODE' with MODE one of 'inplace', 'recompute',
            'cp' and 'bn'; ARCH is m, l, xl or v2_l.
        training: Norms use batch statistics; else the whole is in eval().

    Raises:
        ValueError: Another name.
    """
    from .archs import ARCHS
    from .backbone import TResNet
    kind, _, arch = name.partition(':')
    modes = {
        'inplace': {}, 'recompute': dict(recompute_last_conv=True),
        'cp': dict(with_cp=True), 'bn': dict(norm_cfg=dict(type='BN'))}
    model: nn.Module
    if name == 'resnet50':
        from mmdet.models import ResNet
        model = ResNet(50, norm_eval=False)
    elif kind == 'timm' and arch in ARCHS:
        import timm
        model = timm.create_model(f'tresnet_{arch}', features_only=True,
                                  out_indices=(1, 2, 3, 4))
    elif kind in ARCHS and arch in modes:
        model = TResNet(kind, norm_eval=False, **modes[arch])
    else:
        raise ValueError(
            f'The backbone is {name!r}, expected resnet50, timm:ARCH or '
            f'ARCH:MODE with ARCH in {tuple(ARCHS)} and MODE in '
            f'{tuple(modes)}')
    model.train(training)  # mmdet's returns nothing
    return model


def loss_of(model: nn.Module, x: Tensor) -> Tensor:
    """Mean square of all maps, summed: a loss that reaches every map."""
    return sum(y.float().square().mean()  # type: ignore[return-value]
               for y in model(x))


def train_step(model: nn.Module, x: Tensor) -> None:
    """One forward and backward; gradients are dropped."""
    loss_of(model, x).backward()
    model.zero_grad(set_to_none=True)


def kept_bytes(model: nn.Module, x: Tensor) -> int:
    """Bytes that autograd keeps for backward after ``model(x)``.

    Every storage that the graph refers to counts once, whole; parameters,
    buffers and ``x`` itself do not count, for they exist anyway.

    Args:
        model: Backbone that returns maps, in the mode to be measured.
        x: Images of shape (N, 3, H, W).
    """
    own = {t.untyped_storage().data_ptr()
           for t in (*model.parameters(), *model.buffers(), x)}
    storages = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        outs = model(x)
    del outs
    return sum(storages.values())


def peak_bytes(model: nn.Module, x: Tensor) -> Optional[int]:
    """Peak memory of a training step beyond the model's, on CUDA only."""
    if not x.is_cuda:
        return None
    train_step(model, x)
    torch.cuda.synchronize(x.device)
    torch.cuda.reset_peak_memory_stats(x.device)
    before = torch.cuda.memory_allocated(x.device)
    train_step(model, x)
    torch.cuda.synchronize(x.device)
    return torch.cuda.max_memory_allocated(x.device) - before


def paired_times(steps: Dict[str, Callable[[], None]], repeats: int,
                 device: torch.device) -> Dict[str, List[float]]:
    """Time several steps in turn, round by round.

    A machine's speed drifts, so only ratios within a round say something.

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

    times: Dict[str, List[float]] = {name: [] for name in steps}
    for round_ in range(repeats + 2):
        for name, step in steps.items():
            synchronise()
            start = time.perf_counter()
            step()
            synchronise()
            if round_ >= 2:
                times[name].append(time.perf_counter() - start)
    return times


def ratio(times: Sequence[float], base: Sequence[float]) -> float:
    """Median over the rounds of time / base time in the same round."""
    return statistics.median(t / b for t, b in zip(times, base))
