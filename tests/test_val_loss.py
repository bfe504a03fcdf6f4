"""The loss on the val split: the right number, and nothing moves."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS, RUNNERS
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

import tresnet_det  # noqa: F401
from tresnet_det.demo_data import make_demo_data
from tresnet_det.hooks.val_loss import with_boxes_first
from tresnet_det.losses import losses_of, training_without_noise

CONFIG = Path(__file__).parents[1] / 'configs/demo/fcos_tresnet-m_fpn_demo.py'


@pytest.fixture(scope='module')
def cfg(tmp_path_factory):
    root = tmp_path_factory.mktemp('val_loss')
    make_demo_data(root / 'data', num_train=4, num_val=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('DEMO_DATA', str(root / 'data'))
        cfg = Config.fromfile(CONFIG)
    # Another size than the images', as in every config.
    for pipeline in (cfg.train_dataloader.dataset.pipeline,
                     cfg.val_dataloader.dataset.pipeline):
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
    data = deepcopy(cfg.val_dataloader)
    data.dataset.pipeline = with_boxes_first(data.dataset.pipeline)
    data.update(changes)
    return Runner.build_dataloader(data, seed=0)


def test_boxes_are_resized_with_the_image(cfg):
    steps = with_boxes_first(cfg.val_dataloader.dataset.pipeline)
    assert [s['type'] for s in steps] == [
        'LoadImageFromFile', 'LoadAnnotations', 'Resize', 'PackDetInputs']
    sample = next(iter(loader(cfg)))['data_samples'][0]
    assert sample.img_shape == (96, 96) != sample.ori_shape
    assert sample.gt_instances.bboxes.tensor.max() <= 96


@pytest.mark.parametrize('lacking', ['LoadAnnotations', 'LoadImageFromFile'])
def test_pipeline_without_boxes_is_refused(cfg, lacking):
    steps = [s for s in cfg.val_dataloader.dataset.pipeline
             if s.type != lacking]
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
    assert whole['loss'] == pytest.approx(
        torch.stack(by_hand).mean().item(), rel=1e-6)
    assert whole['loss'] == pytest.approx(
        sum(v for k, v in whole.items() if k != 'loss'), rel=1e-6)


def test_a_batch_counts_by_its_images(cfg, model):
    pairs = [losses_of(model, [batch])['loss'] for batch in loader(cfg)]
    assert losses_of(model, loader(cfg))['loss'] == pytest.approx(
        (2 * pairs[0] + pairs[1]) / 3, rel=1e-6)


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


def test_dropout_is_off_inside():
    model = nn.Sequential(nn.Dropout(0.5), nn.MultiheadAttention(4, 1, 0.5),
                          nn.Sequential(nn.BatchNorm2d(2)))
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
    cfg.merge_from_dict(dict(
        train_cfg=dict(max_epochs=1, val_interval=1), param_scheduler=None,
        train_dataloader=dict(batch_size=1),
        optim_wrapper=dict(optimizer=dict(lr=0.01)),
        custom_hooks=[dict(type='EMAHook', momentum=0.5),
                      dict(type='ValLossHook')],
        default_hooks=dict(checkpoint=dict(
            save_best='val_loss', rule='less'))))
    runner = RUNNERS.build(cfg)
    runner.train()
    scalars, = Path(cfg.work_dir).glob('*/vis_data/scalars.json')
    line = json.loads(scalars.read_text().splitlines()[-1])
    assert {'val_loss', 'val_loss_cls', 'val_loss_bbox', 'coco/bbox_mAP'
            } <= set(line)
    assert list(Path(cfg.work_dir).glob('best_val_loss_epoch_1.pth'))
    checkpoint = torch.load(Path(cfg.work_dir, 'epoch_1.pth'),
                            weights_only=True)
    averaged = MODELS.build(deepcopy(cfg.model))
    averaged.load_state_dict(checkpoint['state_dict'])
    assert line['val_loss'] == pytest.approx(
        losses_of(averaged, loader(cfg))['loss'], rel=1e-5)
    trained = runner.model
    assert losses_of(trained, loader(cfg))['loss'] != pytest.approx(
        line['val_loss'], rel=1e-5)


def test_run_without_val_split_is_refused(cfg):
    cfg = deepcopy(cfg)
    cfg.custom_hooks = [dict(type='ValLossHook')]
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    with pytest.raises(ValueError, match='needs a val split'):
        RUNNERS.build(cfg).train()
