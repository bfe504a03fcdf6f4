"""Two gloo processes against one process with the whole batch."""

import copy
import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from test_backbone import SMALL, build, image
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tresnet_det import SyncInPlaceABN

SYNC = dict(type='SyncInPlaceABN')
BATCHES = (3, 1)


def spawn(worker, folder):
    """Run worker(rank, folder) in two processes."""
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    # Not spawned: each would import MMDetection first.
    mp.start_processes(
        _enter, (worker, port, str(folder)), nprocs=2, start_method='fork'
    )
    return [torch.load(folder / f'{rank}.pt') for rank in range(2)]


def _enter(rank, worker, port, folder):
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group('gloo', rank=rank, world_size=2)
    torch.save(worker(rank), f'{folder}/{rank}.pt')
    dist.destroy_process_group()


def share(rank, batches=BATCHES):
    first = sum(batches[:rank])
    return slice(first, first + batches[rank])


def step(model, x, run=None):
    """Outputs, summed gradients and buffers; the loss is a sum over images."""
    ys = model(x) if run is None else run(x)
    sum(y.square().sum() for y in ys).backward()
    return dict(
        ys=[y.detach() for y in ys],
        grads={n: p.grad for n, p in model.named_parameters()},
        buffers=dict(model.named_buffers()),
    )


def backbone(recompute=False):
    return build(SYNC, recompute_last_conv=recompute).double()


def whole(batch=4):
    return image(48, 64, dtype=torch.float64, batch=batch)


def run_backbone(rank):
    return step(backbone(), whole()[share(rank)])


def run_recompute(rank):
    return step(backbone(recompute=True), whole()[share(rank)])


def run_empty(rank):
    """One process without an image."""
    return step(backbone(), whole()[share(rank, (4, 0))])


@pytest.mark.parametrize('worker', [run_backbone, run_recompute, run_empty])
def test_unequal_batches_equal_one_process(worker, tmp_path):
    parts = spawn(worker, tmp_path)
    one = step(backbone(worker is run_recompute), whole())
    close = dict(rtol=1e-10, atol=1e-10)
    for i, y in enumerate(one['ys']):
        torch.testing.assert_close(
            torch.cat([part['ys'][i] for part in parts]), y, **close
        )
    for name, grad in one['grads'].items():
        total = parts[0]['grads'][name] + parts[1]['grads'][name]
        assert (total - grad).norm() <= 1e-10 * grad.norm(), name
    for part in parts:
        for name, buffer in one['buffers'].items():
            torch.testing.assert_close(part['buffers'][name], buffer, **close)


def two_norms():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        SyncInPlaceABN(4),
        nn.Conv2d(4, 4, 1, bias=False),
        SyncInPlaceABN(4),
    ).double()


def run_compiled(rank):
    model = two_norms()
    compiled = torch.compile(model, backend='aot_eager')
    return step(model, whole()[share(rank)], lambda x: [compiled(x)])


def test_compiled_equals_one_process(tmp_path):
    """The compiler leaves each norm, which waits for the other process, to us."""
    parts = spawn(run_compiled, tmp_path)
    model = two_norms()
    one = step(model, whole(), lambda x: [model(x)])
    close = dict(rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        torch.cat([part['ys'][0] for part in parts]), one['ys'][0], **close
    )
    for name, grad in one['grads'].items():
        total = parts[0]['grads'][name] + parts[1]['grads'][name]
        assert (total - grad).norm() <= 1e-8 * grad.norm(), name
    for part in parts:
        torch.testing.assert_close(part['buffers'], one['buffers'], **close)


def detector():
    """A RetinaNet on SyncInPlaceABN with a loss that is a mean over images.

    Focal and box losses are divided by a count of matches that mmdet already
    averages over processes; to compare steps exactly the sum of raw outputs
    is used instead.
    """
    torch.manual_seed(0)
    init_default_scope('mmdet')  # another test may have left another one
    return MODELS.build(
        dict(
            type='RetinaNet',
            backbone=dict(type='TResNet', arch=SMALL, norm_eval=False, norm_cfg=SYNC),
            neck=dict(
                type='FPN', in_channels=[8, 16, 128, 256], out_channels=8, num_outs=5
            ),
            bbox_head=dict(
                type='RetinaHead',
                num_classes=2,
                in_channels=8,
                stacked_convs=1,
                feat_channels=8,
                anchor_generator=dict(
                    type='AnchorGenerator',
                    octave_base_scale=4,
                    scales_per_octave=1,
                    ratios=[1.0],
                    strides=[4, 8, 16, 32, 64],
                ),
                bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
            ),
            train_cfg=dict(
                assigner=dict(
                    type='MaxIoUAssigner',
                    pos_iou_thr=0.5,
                    neg_iou_thr=0.4,
                    min_pos_iou=0,
                    ignore_iof_thr=-1,
                ),
                sampler=dict(type='PseudoSampler'),
                allowed_border=-1,
                pos_weight=-1,
                debug=False,
            ),
        )
    ).double()


def samples(n):
    result = []
    for i in range(n):
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(64, 64),
                pad_shape=(64, 64),
                batch_input_shape=(64, 64),
                scale_factor=(1.0, 1.0),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[8.0, 8.0, 40.0, 40.0 + i]]).double(),
            labels=torch.tensor([i % 2]),
        )
        result.append(sample)
    return result


def train_detector(model, part, weight, steps=3):
    """Three optimiser steps; weight turns mean gradients into sums."""
    optimiser = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9)
    losses = []
    for i in range(steps):
        x = torch.randn(
            4,
            3,
            64,
            64,
            dtype=torch.float64,
            generator=torch.Generator().manual_seed(i),
        )[part]
        out = model(x, samples(4)[part], mode='tensor')
        # DDP averages gradients over two processes: weight 2 undoes that.
        loss = weight * sum(y.square().sum() for maps in out for y in maps) / 4e3
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.detach() / weight)
    return dict(losses=torch.stack(losses), state=copy.deepcopy(model.state_dict()))


def run_detector(rank):
    model = DistributedDataParallel(detector())
    return train_detector(model, share(rank), 2.0)


def test_ddp_detector_equals_one_process(tmp_path):
    parts = spawn(run_detector, tmp_path)
    one = train_detector(detector(), slice(None), 1.0)
    torch.testing.assert_close(
        parts[0]['losses'] + parts[1]['losses'], one['losses'], rtol=1e-10, atol=0
    )
    for part in parts:
        for name, value in one['state'].items():
            torch.testing.assert_close(
                part['state']['module.' + name], value, rtol=1e-10, atol=1e-10
            )
