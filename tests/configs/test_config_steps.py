"""Every config of a detector trains one step and predicts.

The images go through the config's own loaders and pipelines, the step through
its own optimizer wrapper. Only what costs time is smaller: one block a stage,
the scales of the pipelines, how many boxes are sampled and kept.
"""

import re
from copy import deepcopy
from functools import partial

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.evaluator import Evaluator
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed
from small_runs import box, coco, write_data
from test_configs import CONFIGS, read, unrepeated

from tresnet_det import SharedHead
from tresnet_det.weights.archs import ARCHS

# Arms of a comparison, which differ from another one in the weights of losses.
ARMS = ('logits', 'share-2', 'shuffled', 'sh-kd', 'share-0_cards')
FEWER = dict(num=16, max_per_img=8, score_thr=0)
BOXES = [(1, 4, 6, 40, 30), (1, 30, 20, 30, 40), (2, 10, 10, 45, 50)]


def walk(node, change):
    """Changes values by their keys, at any depth."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if key in change:
            node[key] = change[key](value)
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, (dict, list)):
            walk(child, change)


def smaller(longest, scale):
    """A scale, or all of several, with its ratio kept."""
    if isinstance(scale[0], (tuple, list)):
        return [smaller(longest, one) for one in scale]
    return tuple(round(side * longest / max(scale)) for side in scale)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two images with boxes and their outlines, one folder for each list of
    classes."""
    folders = {}

    def folder(classes):
        if classes not in folders:
            folders[classes] = write_data(
                tmp_path_factory.mktemp('data') / 'set',
                coco(
                    [
                        box(
                            image,
                            x,
                            y,
                            w,
                            h,
                            min(category, len(classes)),
                            segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
                        )
                        for category, (image, x, y, w, h) in enumerate(BOXES, 1)
                    ],
                    classes,
                ),
            )
        return folders[classes]

    return folder


def small_model(cfg):
    model = deepcopy(cfg.model)
    model.backbone.init_cfg = None
    if 'arch' in model.backbone:
        model.backbone.arch = (
            ARCHS[model.backbone.arch]._replace(depths=(1, 1, 1, 1))._asdict()
        )
    walk(model, {key: lambda _, value=value: value for key, value in FEWER.items()})
    built = MODELS.build(model)
    if getattr(built, 'distils', False):  # its weights would be downloaded
        backbone = built.teacher.cfg.model.backbone
        if 'arch' in backbone:
            backbone.arch = ARCHS[backbone.arch]._replace(depths=(1, 1, 1, 1))._asdict()
    if hasattr(built, 'untrained'):
        built.untrained()
    return built


def batches(cfg, split, folder, longest=96):
    """The config's own loader, of the generated images."""
    loader = deepcopy(cfg[f'{split}_dataloader'])
    loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    dataset, _ = unrepeated(loader.dataset)
    metainfo = dataset.get('metainfo') or DATASETS.get(dataset.type).METAINFO
    root = folder(tuple(metainfo['classes']))
    dataset.update(
        data_root=str(root),
        ann_file='ann.json',
        data_prefix=dict(img='images'),
        serialize_data=False,
    )
    walk(
        dataset.pipeline, dict.fromkeys(('scale', 'scales'), partial(smaller, longest))
    )
    return Runner.build_dataloader(loader, seed=0)


def parts(names):
    return {name.partition('.')[0] for name in names}


def check_step(model, batch, wrapper, half):
    """What may move had a gradient, and each part of the model moved."""
    wrapper = build_optim_wrapper(model, wrapper)
    before = deepcopy(model.state_dict())
    model.train()
    with torch.autocast('cpu', torch.bfloat16, enabled=half):
        logged = model.train_step(batch, wrapper)
    assert logged['loss'].isfinite(), logged
    after = dict(model.named_parameters())
    assert not [name for name, value in after.items() if not value.isfinite().all()]
    trained = {name for name in after if after[name].requires_grad}
    frozen = {'bbox_head'} if isinstance(model, SharedHead) else set()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved <= trained
    assert (
        parts(moved)
        == parts(trained)
        == {*dict(model.named_children())} - {'data_preprocessor'} - frozen
    )
    with_gradient = wrapper.optimizer.state
    assert not [name for name in trained if after[name] not in with_gradient]


def check_prediction(cfg, model, loader):
    model.eval()
    (batch,) = loader
    with torch.no_grad():
        results = model.test_step(batch)
    for result in results:
        found = result.pred_instances
        assert 0 < len(found) <= FEWER['max_per_img']
        assert found.bboxes.isfinite().all()
        assert ('masks' in found) == model.with_mask
    evaluator = Evaluator(
        dict(cfg.val_evaluator, ann_file=f'{loader.dataset.data_root}/ann.json')
    )
    evaluator.dataset_meta = loader.dataset.metainfo
    evaluator.process(results, batch)
    assert 'coco/bbox_mAP' in evaluator.evaluate(len(results))


# Other archs and schedules of what is tried at once; all are with -m long.
VARIANT = re.compile('tresnet-(l|xl|v2_l)_|retinanet_.*_amp-|_(2x|20e|ms-[^_]*)_')


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=[pytest.mark.long] if VARIANT.search(name) else [])
        for name in CONFIGS
        if not any(arm in name for arm in ARMS)
    ],
)
def test_trains_a_step_and_predicts(name, folder):
    init_default_scope('mmdet')
    set_random_seed(0)
    cfg = read(name)
    model = small_model(cfg)
    wrapper, half = deepcopy(cfg.optim_wrapper), False
    if wrapper.type == 'AmpOptimWrapper':  # it refuses to work without a GPU
        wrapper.type = 'OptimWrapper'
        wrapper.pop('loss_scale')
        # mmcv's NMS on a CPU takes float32 alone.
        half = 'roi_head' not in cfg.model
    # PyTorch 2.14.1 now and then computes NaN for the gradient of a 3x3
    # conv's weights from a 1x1 map in bfloat16: P6 must be larger.
    batch = next(iter(batches(cfg, 'train', folder, 128 if half else 96)))
    assert len(batch['inputs']) == 2
    check_step(model, batch, wrapper, half)
    check_prediction(cfg, model, batches(cfg, 'val', folder))
