"""The loss on the val split: the right number, and nothing moves."""

import json
import os
import random
import socket
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from mmdet.registry import MODELS, RUNNERS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from small_runs import box, coco, small_config, write_data
from torch import nn

import tresnet_det  # noqa: F401
from tresnet_det.data.demo_data import make_demo_data
from tresnet_det.training.hooks import ValLossHook
from tresnet_det.training.hooks.val_loss import loss_dataloader, with_boxes_first
from tresnet_det.training.losses import losses_of, training_without_noise
from tresnet_det.weights.safe_globals import load

CONFIGS = Path(__file__).parents[2] / 'configs'
CONFIG = CONFIGS / 'demo/fcos_tresnet-m_fpn_demo.py'
HOOK = [dict(type='ValLossHook')]


@pytest.fixture(scope='module')
def cfg(tmp_path_factory):
    root = tmp_path_factory.mktemp('val_loss')
    make_demo_data(root / 'data', num_train=4, num_val=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('DEMO_DATA', str(root / 'data'))
        cfg = Config.fromfile(CONFIG)
    # Another size than the images', as in every config.
    for pipeline in (
        cfg.train_dataloader.dataset.pipeline,
        cfg.val_dataloader.dataset.pipeline,
    ):
        for step in pipeline:
            if step.type == 'Resize':
                step.scale = (96, 96)
    cfg.val_dataloader.batch_size = 2  # batches of 2 and 1
    cfg.model.backbone.arch = dict(depths=(1, 1, 1, 1), width=8)
    cfg.model.neck.in_channels = [8, 16, 128, 256]
    cfg.model.test_cfg.score_thr = 0  # without detections no AP is logged
    cfg.work_dir = str(root / 'run')
    cfg.visualizer.name = 'val_loss'  # not the one of an earlier run
    return cfg


@pytest.fixture
def model(cfg):
    torch.manual_seed(0)
    model = MODELS.build(deepcopy(cfg.model))
    for module in model.modules():  # statistics unlike those of a batch
        if hasattr(module, 'running_var'):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model


def loader(cfg, **changes):
    return Runner.build_dataloader(
        loss_dataloader(dict(cfg.val_dataloader, **changes)), seed=0
    )


def generators():
    """What is drawn next."""
    states = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    drawn = random.random(), np.random.rand(), torch.rand(()).item()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    return drawn


def test_boxes_are_resized_with_the_image(cfg):
    steps = with_boxes_first(cfg.val_dataloader.dataset.pipeline)
    assert [s['type'] for s in steps] == [
        'LoadImageFromFile',
        'LoadAnnotations',
        'Resize',
        'PackDetInputs',
    ]
    sample = next(iter(loader(cfg)))['data_samples'][0]
    assert sample.img_shape == (96, 96) != sample.ori_shape
    assert sample.gt_instances.bboxes.tensor.max() <= 96


def test_every_set_of_a_concatenation_is_read(cfg):
    one = cfg.val_dataloader.dataset
    both = loader(
        cfg,
        batch_size=1,
        dataset=dict(
            type='ConcatDataset',
            datasets=[one, dict(type='RepeatDataset', times=2, dataset=one)],
        ),
    )
    samples = [batch['data_samples'][0] for batch in both]
    assert len(samples) == 9
    assert all(
        sample.img_shape == (96, 96) and sample.gt_instances.bboxes.tensor.max() > 64
        for sample in samples
    )


def test_panoptic_annotations_are_annotations():
    steps = [
        dict(type=name)
        for name in ('LoadImageFromFile', 'Resize', 'mmdet.LoadPanopticAnnotations')
    ]
    assert with_boxes_first(steps) == [steps[0], steps[2], steps[1]]


@pytest.mark.parametrize(
    'dataloader',
    [
        None,
        dict(dataset=[1, 2]),
        dict(dataset=dict(type='CocoDataset')),
        dict(dataset=dict(type='ConcatDataset', datasets=[[1, 2]])),
    ],
)
def test_what_cannot_be_read_again_is_refused(dataloader):
    with pytest.raises(ValueError, match='needs .*val.*got'):
        loss_dataloader(dataloader)


@pytest.mark.parametrize('lacking', ['LoadAnnotations', 'LoadImageFromFile'])
def test_pipeline_without_boxes_is_refused(cfg, lacking):
    steps = [s for s in cfg.val_dataloader.dataset.pipeline if s.type != lacking]
    with pytest.raises(ValueError, match='LoadAnnotations'):
        with_boxes_first(steps)


def test_mean_over_images_of_the_training_loss(cfg, model):
    """By hand: one image at a time, norms with running statistics."""
    model.backbone.norm_eval = True
    whole = losses_of(model, loader(cfg, batch_size=1))
    by_hand = []
    for batch in loader(cfg, batch_size=1):
        model.train()
        for module in model.modules():
            if hasattr(module, 'running_var'):
                module.eval()
        data = model.data_preprocessor(batch, False)
        by_hand.append(model.parse_losses(model(**data, mode='loss'))[0])
    assert whole['loss'] == pytest.approx(torch.stack(by_hand).mean().item(), rel=1e-6)
    assert whole['loss'] == pytest.approx(
        sum(v for k, v in whole.items() if k != 'loss'), rel=1e-6
    )


def test_a_batch_counts_by_its_images(cfg, model):
    pairs = [losses_of(model, [batch])['loss'] for batch in loader(cfg)]
    assert losses_of(model, loader(cfg))['loss'] == pytest.approx(
        (2 * pairs[0] + pairs[1]) / 3, rel=1e-6
    )


def test_heads_of_fcos_need_training_mode(cfg, model):
    """In eval() FCOS decodes boxes; a loss on those would mean nothing."""
    model.eval()
    batch = next(iter(loader(cfg)))
    data = model.data_preprocessor(batch, False)
    wrong = model.parse_losses(model(**data, mode='loss'))[0]
    right = losses_of(model, [batch])['loss']
    assert abs(wrong.item() / right - 1) > 0.01


def test_nothing_moves_and_modes_come_back(cfg, model):
    model.train()
    model.bbox_head.eval()
    modes = [m.training for m in model.modules()]
    before = deepcopy(model.state_dict())
    losses_of(model, loader(cfg))
    assert [m.training for m in model.modules()] == modes
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in model.parameters())


def mask_rcnn(roi_head):
    cfg = Config.fromfile(CONFIGS / 'mask_rcnn/mask-rcnn_tresnet-m_fpn_1x_coco.py')
    cfg.merge_from_dict(
        dict(
            model=dict(
                backbone=dict(
                    _delete_=True,
                    type='TResNet',
                    norm_eval=False,
                    arch=dict(depths=(1, 1, 1, 1), width=8),
                ),
                neck=dict(in_channels=[8, 16, 128, 256], out_channels=16),
                rpn_head=dict(in_channels=16, feat_channels=16),
                roi_head=dict(
                    type=roi_head,
                    bbox_roi_extractor=dict(out_channels=16),
                    bbox_head=dict(
                        in_channels=16,
                        fc_out_channels=16,
                        loss_bbox=dict(type='SmoothL1Loss'),
                    ),
                    mask_roi_extractor=dict(out_channels=16),
                    mask_head=dict(in_channels=16, conv_out_channels=16, num_convs=1),
                ),
                train_cfg=dict(
                    rcnn=dict(
                        dynamic_rcnn=dict(
                            iou_topk=5,
                            beta_topk=1,
                            update_iter_interval=2,
                            initial_iou=0.4,
                            initial_beta=1.0,
                        )
                    )
                ),
            )
        )
    )
    cfg.model.backbone.pop('_delete_', None)
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


def pictures():
    """Two of different sizes, with masks."""
    return demo_mm_inputs(
        2,
        [(3, 64, 96), (3, 96, 64)],
        num_items=[2, 3],
        with_mask=True,
        use_box_type=True,
    )


@pytest.mark.parametrize('roi_head', ['StandardRoIHead', 'DynamicRoIHead'])
def test_same_number_each_time(roi_head):
    """Two stages draw proposals; Dynamic R-CNN has a memory."""
    model, batch = mask_rcnn(roi_head), pictures()
    before, threshold = generators(), model.roi_head.bbox_assigner.pos_iou_thr
    first = losses_of(model, [deepcopy(batch), deepcopy(batch)])
    assert generators() == before
    assert first['loss_mask'] > 0
    torch.rand(3), np.random.rand(3), random.random()
    assert losses_of(model, [deepcopy(batch), deepcopy(batch)]) == first
    assert model.roi_head.bbox_assigner.pos_iou_thr == threshold
    assert getattr(model.roi_head, 'iou_history', []) == []


def test_masks_are_padded_like_the_images():
    """Detectors that compare masks pixel by pixel need them in one size."""
    cfg = get_config('mmdet::rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py')
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    assert losses_of(model, [pictures()])['loss_mask'] > 0
    assert not model.data_preprocessor.pad_mask


def test_batches_are_not_augmented(model, cfg):
    batch = next(iter(loader(cfg)))
    expected = losses_of(model, [batch])
    model.data_preprocessor.batch_augments = nn.ModuleList([nn.Identity()])
    assert losses_of(model, [batch]) == expected  # called, it would fail
    assert len(model.data_preprocessor.batch_augments) == 1


def test_dropout_is_off_inside():
    model = nn.Sequential(
        nn.Dropout(0.5),
        nn.MultiheadAttention(4, 1, 0.5),
        nn.Sequential(nn.BatchNorm2d(2)),
    )
    with pytest.raises(InterruptedError), training_without_noise(model):
        assert model.training and model[2].training
        assert not any(m.training for m in (model[0], model[1], model[2][0]))
        raise InterruptedError
    assert all(m.training for m in model.modules())


def test_no_image_is_an_error(model):
    with pytest.raises(ValueError, match='no image'):
        losses_of(model, [])


def test_in_a_run_with_averaged_weights(cfg):
    """One line in the config; logged; of the EMA's weights, as is the AP."""
    cfg = deepcopy(cfg)
    cfg.merge_from_dict(
        dict(
            train_cfg=dict(max_epochs=1, val_interval=1),
            param_scheduler=None,
            train_dataloader=dict(batch_size=1),
            optim_wrapper=dict(optimizer=dict(lr=0.01)),
            custom_hooks=[dict(type='EMAHook', momentum=0.5), dict(type='ValLossHook')],
            default_hooks=dict(checkpoint=dict(save_best='val_loss', rule='less')),
        )
    )
    runner = RUNNERS.build(cfg)
    runner.train()
    (scalars,) = Path(cfg.work_dir).glob('*/vis_data/scalars.json')
    line = json.loads(scalars.read_text().splitlines()[-1])
    assert {'val_loss', 'val_loss_cls', 'val_loss_bbox', 'coco/bbox_mAP'} <= set(line)
    assert list(Path(cfg.work_dir).glob('best_val_loss_epoch_1.pth'))
    checkpoint = load(Path(cfg.work_dir, 'epoch_1.pth'))
    averaged = MODELS.build(deepcopy(cfg.model))
    averaged.load_state_dict(checkpoint['state_dict'])
    assert line['val_loss'] == pytest.approx(
        losses_of(averaged, loader(cfg))['loss'], rel=1e-5
    )
    trained = runner.model
    assert losses_of(trained, loader(cfg))['loss'] != pytest.approx(
        line['val_loss'], rel=1e-5
    )


def test_run_without_val_split_is_refused(cfg):
    cfg = deepcopy(cfg)
    cfg.custom_hooks = HOOK
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    with pytest.raises(ValueError, match='needs a val split'):
        RUNNERS.build(cfg).train()


@pytest.fixture(scope='module')
def three(tmp_path_factory):
    """Pictures whose losses are divided by very different counts."""
    return write_data(
        tmp_path_factory.mktemp('three') / 'data',
        coco(
            [box(1, 10, 10, 30, 30), box(2, 5, 5, 50, 55), box(3, 20, 30, 9, 9)],
            num_images=3,
        ),
    )


def val_config(root, work_dir):
    return small_config(
        'fcos', root, work_dir, custom_hooks=HOOK, val_dataloader=dict(batch_size=1)
    )


def test_in_a_run_that_only_evaluates(three, tmp_path):
    runner = RUNNERS.build(val_config(three, tmp_path))
    metrics = runner.val()
    assert metrics['val_loss'] == losses_of(runner.model, loader(runner.cfg))['loss']


def _one_of_two(rank, port, root, folder):
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )
    cfg = val_config(root, folder)
    cfg.launcher = 'pytorch'
    runner = RUNNERS.build(cfg)
    found = runner.val()
    assert torch.distributed.get_world_size() == 2
    batches = list(loader(cfg))
    (folder / f'{rank}.json').write_text(
        json.dumps(
            dict(
                found,
                images=len(batches),
                one=losses_of(runner.model.module, batches[: 1 - rank])['loss'],
            )
        )
    )


def test_two_processes_share_what_one_does(three, tmp_path):
    """One of them has a batch less, or none."""
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    mp.start_processes(
        _one_of_two, (port, three, tmp_path), nprocs=2, start_method='fork'
    )  # nothing is imported again
    first, second = (
        json.loads((tmp_path / f'{rank}.json').read_text()) for rank in range(2)
    )
    assert (first['images'], second['images']) == (2, 1)
    runner = RUNNERS.build(val_config(three, tmp_path / 'alone'))
    alone = runner.val()
    for name in ('val_loss', 'val_loss_cls', 'val_loss_bbox'):
        assert first[name] == second[name] == pytest.approx(alone[name], rel=1e-6)
    assert (
        first['one']
        == second['one']
        == pytest.approx(
            losses_of(runner.model, [next(iter(loader(runner.cfg)))])['loss'], rel=1e-6
        )
    )


def test_training_is_the_same_with_it(three, tmp_path):
    """MMEngine's own runner, two stages, by iterations: neither the weights
    nor what is drawn afterwards depends on the hook."""

    def train(hooks):
        cfg = small_config(
            'faster_rcnn',
            three,
            tmp_path / f'{len(hooks)}',
            custom_hooks=hooks,
            param_scheduler=None,
            train_dataloader=dict(
                batch_sampler=None, sampler=dict(type='InfiniteSampler')
            ),
            default_hooks=dict(
                checkpoint=None, logger=dict(interval=1, log_metric_by_epoch=False)
            ),
            log_processor=dict(by_epoch=False),
        )
        cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=3, val_interval=2)
        runner = Runner.from_cfg(cfg)
        runner.train()
        return runner, [
            json.loads(line)
            for line in next(Path(cfg.work_dir).glob('*/vis_data/scalars.json'))
            .read_text()
            .splitlines()
        ]

    (plain, _), (hooked, lines) = train([]), train(HOOK)
    assert [line['step'] for line in lines if 'val_loss' in line] == [2, 3]
    for name, value in plain.model.state_dict().items():
        assert torch.equal(hooked.model.state_dict()[name], value), name


def test_two_detectors_in_one_are_refused():
    runner = SimpleNamespace(model=SimpleNamespace(teacher=1, student=1))
    with pytest.raises(ValueError, match='one detector'):
        ValLossHook().before_val(runner)
