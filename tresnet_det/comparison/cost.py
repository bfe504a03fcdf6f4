"""What detectors cost: parameters, multiply-adds, memory, time.

All are measured in one process on the same images, in turn and round by
round, since only ratios taken together say something.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner, set_random_seed

from ..training.precision import autocast_of
from .benchmark import MIB, paired_times
from .flops import detector_complexity
from .kept import bytes_kept_by

__all__ = ['Cost', 'measure_costs', 'step_seconds']


@dataclass(frozen=True)
class Cost:
    """Costs of a detector.

    Attributes:
        params: Number of parameters.
        macs: Multiply-adds of one image of ``test_size``, or in words why
            they cannot be counted.
        kept: MiB kept for backward per image of ``train_size``.
        train: Images per second in training, by round: forward, losses,
            backward.
        infer: Images per second in inference, by round, from the images in
            memory to boxes.
        train_size, test_size: Images, height and width of the padded batches.
    """

    params: int
    macs: int | str
    kept: float
    train: list[float]
    infer: list[float]
    train_size: tuple[int, int, int]
    test_size: tuple[int, int, int]


class _Detector:
    """A detector with random weights and one real batch of each split."""

    def __init__(self, cfg: Config, device: torch.device) -> None:
        set_random_seed(0)  # the same images and augmentations for all
        self.cfg = cfg
        self.autocast = autocast_of(cfg.optim_wrapper, device)
        self.device = device
        batches = []
        for name in ('train_dataloader', 'val_dataloader'):
            loader = deepcopy(cfg[name])
            loader.update(num_workers=0, persistent_workers=False)
            with DefaultScope.overwrite_default_scope('mmdet'):
                batches.append(next(iter(Runner.build_dataloader(loader, seed=0))))
        with DefaultScope.overwrite_default_scope('mmdet'):
            self.model: BaseModel = MODELS.build(deepcopy(cfg.model))
        if hasattr(self.model, 'untrained'):
            self.model.untrained()  # as all are
        self.model.to(device)
        self.train_batch = self.model.data_preprocessor(batches[0], True)
        self.test_batch = self.model.data_preprocessor(batches[1], False)

    def loss(self) -> torch.Tensor:
        with self.autocast:
            losses = self.model(**deepcopy(self.train_batch), mode='loss')
        return self.model.parse_losses(losses)[0]

    def train_step(self) -> None:
        self.loss().backward()
        self.model.zero_grad(set_to_none=True)

    @torch.no_grad()
    def infer(self) -> None:
        self.model(**deepcopy(self.test_batch), mode='predict')

    def kept(self) -> float:
        # A teacher's weights are there anyway, and kept by its frozen head.
        teachers = []
        if getattr(self.model, 'distils', False):
            self.model.teacher.on(self.device)
            teachers = self.model.teacher.weights()
        own = (
            *self.model.parameters(),
            *self.model.buffers(),
            *teachers,
            self.train_batch['inputs'],
        )
        count = len(self.train_batch['inputs'])
        return bytes_kept_by(self.loss, own) / count / MIB


def step_seconds(cfg: Config) -> tuple[float, float]:
    """Seconds of a training batch and of a batch of the val split.

    The third of three each.
    """
    device = torch.device(get_device())
    detector = _Detector(cfg, device)
    detector.model.train()
    train = paired_times({'': detector.train_step}, 1, device)['']
    detector.model.eval()
    return train[0], paired_times({'': detector.infer}, 1, device)[''][0]


def _count_macs(cfg: Config, size: tuple[int, int]) -> int | str:
    try:
        return detector_complexity(cfg, size).macs
    # Operators without an implementation on the meta device fail in many
    # ways; the rest of the report is worth more than this figure.
    except Exception as error:
        return f'not counted: {error or type(error).__name__}'


def measure_costs(cfgs: Mapping[str, Config], repeats: int = 5) -> dict[str, Cost]:
    """Measures detectors side by side on the best device there is.

    Args:
        cfgs: By name.
        repeats: Rounds that are timed; 0 for no times.
    """
    device = torch.device(get_device())
    detectors = {name: _Detector(cfg, device) for name, cfg in cfgs.items()}
    kept, times = {}, {}
    for name, detector in detectors.items():
        detector.model.train()
        kept[name] = detector.kept()
    steps = {name: d.train_step for name, d in detectors.items()}
    times['train'] = (
        paired_times(steps, repeats, device)
        if repeats
        else dict.fromkeys(detectors, [])
    )
    for detector in detectors.values():
        detector.model.eval()
    steps = {name: d.infer for name, d in detectors.items()}
    times['infer'] = (
        paired_times(steps, repeats, device)
        if repeats
        else dict.fromkeys(detectors, [])
    )

    costs = {}
    for name, detector in detectors.items():
        batches = detector.train_batch, detector.test_batch
        train, infer = (
            [len(batch['inputs']) / t for t in times[kind][name]]
            for kind, batch in zip(('train', 'infer'), batches)
        )
        train_size, test_size = (
            (len(batch['inputs']), *batch['inputs'].shape[-2:]) for batch in batches
        )
        costs[name] = Cost(
            sum(p.numel() for p in detector.model.parameters()),
            _count_macs(detector.cfg, test_size[1:]),
            kept[name],
            train,
            infer,
            train_size,
            test_size,
        )
    return costs
