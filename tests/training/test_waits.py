"""How often whole training iterations wait for values on the device."""

from functools import partial
from unittest.mock import patch

import pytest
import torch
from mmdet.registry import RUNNERS
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from reads import Reads
from small_runs import box, coco, small_config, write_data

import tresnet_det  # noqa: F401
from tresnet_det.training.hooks import (
    ClassCountHook,
    IterationSeedHook,
    ProgressPage,
    StopOnNonFiniteHook,
    ValLossHook,
)

LOSSES = 4  # of FCOS, which mmengine's log reads one by one
BACKBONE = 1
STOP = dict(type='StopOnNonFiniteHook')
OURS = [
    dict(type=kind.__name__)
    for kind in (ClassCountHook, ProgressPage, StopOnNonFiniteHook, ValLossHook)
]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    boxes = [box(image, 8, 8, 30, 40) for image in (1, 2, 3, 4)]
    return write_data(
        tmp_path_factory.mktemp('waits') / 'data', coco(boxes, num_images=4)
    )


@pytest.fixture
def reads(data, tmp_path, capsys):
    """Reads in each of the iterations of an epoch, the first left out."""

    def count(
        name,
        hooks,
        runner_type='CheckedRunner',
        norm='InPlaceABN',
        last=False,
        **options,
    ):
        cfg = small_config(
            'fcos',
            data,
            tmp_path / name,
            default_hooks=dict(logger=dict(interval=1)),
            **options,
        )
        cfg.custom_hooks, cfg.runner_type = hooks, runner_type
        cfg.train_cfg = dict(by_epoch=True, max_epochs=1, val_begin=2)
        cfg.model.backbone.update(norm_cfg=dict(type=norm), channels_last=last)
        cfg.train_dataloader.batch_size = 1
        counts = []

        def run_iter(loop, idx, batch):
            with Reads() as mode:
                whole(loop, idx, batch)
            counts.append(mode.count)

        whole = EpochBasedTrainLoop.run_iter
        runner = Runner.from_cfg(cfg) if runner_type == 'Runner' else None
        with patch.object(EpochBasedTrainLoop, 'run_iter', run_iter):
            (runner or RUNNERS.build(cfg)).train()
        assert len(counts) == 4 and len({*counts[1:]}) == 1
        with capsys.disabled():
            print(f'\n{name}: {counts[1]} reads an iteration', end='')
        return counts[1]

    return count


def test_reads_of_an_iteration(reads):
    """Ours reads no more than mmengine's alone but for the backbone's one."""
    plain = reads('mmengine, BN', [], 'Runner', 'BN')
    alone = reads('mmengine, InPlaceABN', [], 'Runner')
    assert alone == plain + BACKBONE
    assert reads('ours without hooks', []) == alone
    # Both reads of the hook in place of one for each loss.
    assert reads('ours, StopOnNonFiniteHook', [STOP]) == alone - LOSSES + 2
    assert reads('mmengine and StopOnNonFiniteHook', [STOP], 'Runner') < alone
    assert reads('ours, all hooks', OURS) == alone - LOSSES + 2
    every = {kind['type'] for kind in OURS} | {IterationSeedHook.__name__}
    assert every >= {
        name
        for name, kind in vars(tresnet_det.training.hooks).items()
        if isinstance(kind, type) and 'iter' in str([*vars(kind)])
    }


@pytest.mark.parametrize('fused', [False, True])
def test_reads_under_amp(reads, monkeypatch, fused):
    """The loss scaler looks at the gradients; a fused optimizer waits for nothing."""
    if not hasattr(torch.amp, 'GradScaler'):
        pytest.skip('torch 2.1 and 2.2 scale losses on CUDA alone')
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(
        amp_optimizer_wrapper, 'GradScaler', partial(torch.amp.GradScaler, 'cpu')
    )
    optim = dict(type='AmpOptimWrapper', dtype='bfloat16', optimizer=dict(fused=fused))
    amp = dict(optim_wrapper=optim, last=fused)
    kind = 'AMP, fused' if fused else 'AMP'
    # oneDNN's gradient of a 3x3 conv on a single pixel is not what it should be.
    with torch.backends.mkldnn.flags(enabled=False):
        alone = reads(f'{kind}, mmengine', [], 'Runner', **amp)
        stops = reads(f'{kind}, StopOnNonFiniteHook', [STOP], 'Runner', **amp)
    assert stops == alone - LOSSES + 1
