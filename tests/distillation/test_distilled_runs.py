"""Students in whole trainings: stopped and resumed, over two processes."""

import json
import multiprocessing
import os
import signal
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from killing import differences
from mmdet.registry import MODELS, RUNNERS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from small_demo import small_demo

from tresnet_det import UserError
from tresnet_det.data.demo_data import make_demo_data
from tresnet_det.weights.safe_globals import load

BASE = Path(__file__).parents[2] / 'configs/demo/fcos_tresnet-m_fpn_demo.py'


class Kill(Hook):
    """Kills the own process, as the system does that is out of memory."""

    priority = 'VERY_LOW'

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == 3:  # the last checkpoint is one old
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('distilled')
    make_demo_data(root / 'data', num_train=8, num_val=2, size=64)
    for seed in range(2):
        cfg = plain(root, 'teacher')
        cfg.model.neck.out_channels = cfg.model.bbox_head.in_channels = 48
        cfg.dump(root / 'teacher.py')
        torch.manual_seed(seed)
        with DefaultScope.overwrite_default_scope('mmdet'):
            model = MODELS.build(cfg.model)
        torch.save(
            dict(
                state_dict=model.state_dict(),
                meta=dict(dataset_meta=dict(classes=cfg.classes)),
            ),
            root / f'teacher_{seed}.pth',
        )
    return root


def plain(root, name, **options):
    folder = root / name
    folder.mkdir(exist_ok=True)
    config = folder / 'config.py'
    config.write_text(
        small_demo(BASE, root / 'data', folder / 'run', epochs=2, **options)
    )
    cfg = Config.fromfile(config)
    cfg.experiment_name = cfg.visualizer.name = str(folder)
    cfg.randomness = dict(seed=0)
    return cfg


def distilled(root, name, teacher=0, **options):
    """Through an adapter, as the teacher's maps are wider."""
    cfg = plain(root, name, **options)
    cfg.merge_from_dict(
        dict(
            model=dict(
                type='HeadSharing',
                detector='FCOS',
                teacher=dict(
                    config=str(root / 'teacher.py'),
                    checkpoint=str(root / f'teacher_{teacher}.pth'),
                ),
                adapter=True,
            )
        )
    )
    return cfg


def train(cfg, kill=False):
    runner = RUNNERS.build(cfg)
    if kill:
        runner.register_hook(Kill())
    runner.train()
    return runner


def scalars(cfg):
    (file,) = Path(cfg.work_dir).glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope='module')
def whole(root):
    cfg = distilled(root, 'whole')
    cfg.custom_hooks.append(dict(type='ValLossHook'))
    train(cfg)
    return cfg


def test_what_a_run_leaves(root, whole):
    work_dir = Path(whole.work_dir)
    checkpoint = load(work_dir / 'iter_4.pth', map_location='cpu')
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(plain(root, 'plain').model)
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    beside = checkpoint['distillation']
    assert {*beside['adapters']} == {'cls_adapter'}
    assert len(beside['teacher']) == 64
    lines = scalars(whole)
    steps = [line for line in lines if 'loss' in line]
    assert all(line['ratio_shared_cls'] > 0 for line in steps)
    (val,) = (line for line in lines if 'val_loss' in line)
    assert not any('shared' in key for key in val)
    (log,) = work_dir.glob('*/*.log')
    assert 'the teacher on the val split: coco/bbox_mAP' in log.read_text()


def test_killed_and_resumed(root, whole):
    """Ends with the same weights, adapter, averages, losses; with another
    teacher it goes nowhere."""
    cfg = distilled(root, 'killed')
    cfg.custom_hooks.append(dict(type='ValLossHook'))
    process = multiprocessing.get_context('fork').Process(
        target=train, args=(cfg, True)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert Path(cfg.work_dir, 'iter_2.pth').exists()
    other = distilled(root, 'killed', teacher=1)
    other.resume = True
    with pytest.raises(UserError, match='(?s)sha256 .*teacher_1.pth has sha256'):
        train(other)
    cfg.resume = True
    train(cfg)
    names, count = differences(*(Path(c.work_dir, 'iter_4.pth') for c in (whole, cfg)))
    assert not names and count > 100


@pytest.mark.long
def test_a_plain_run_is_not_resumed_with_a_teacher(root):
    train(plain(root, 'resumed'))
    cfg = distilled(root, 'resumed')
    cfg.resume = True
    with pytest.raises(UserError, match='no teacher|cannot be resumed'):
        train(cfg)


def test_other_names_are_refused_before_training(root):
    cfg = distilled(root, 'names')
    file = root / 'other_names.pth'
    content = load(root / 'teacher_0.pth')
    content['meta']['dataset_meta']['classes'] = tuple('abcdef')
    torch.save(content, file)
    cfg.model.teacher.checkpoint = str(file)
    with pytest.raises(UserError, match="(?s)student: .'circle.*teacher: .'a'"):
        train(cfg)
    assert not [*Path(cfg.work_dir).glob('*.pth')]


def _one_of_two(rank, port, cfg):
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )
    cfg.launcher = 'pytorch'
    runner = train(cfg)
    assert not runner.model.find_unused_parameters
    if rank == 0:
        torch.save(runner.model.module.state_dict(), cfg.work_dir + '/end.pth')


def test_two_processes_equal_one(root):
    """Find_unused_parameters is off."""
    norm = dict(norm='SyncInPlaceABN')
    configs = [
        distilled(root, 'one', **norm),
        distilled(root, 'two', processes=2, **norm),
    ]
    for cfg in configs:
        cfg.train_cfg.max_epochs = 1
        cfg.train_dataloader.dataset.pipeline = [
            step
            for step in cfg.train_dataloader.dataset.pipeline
            if step.type not in ('RandomFlip', 'PhotoMetricDistortion')
        ]
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    mp.start_processes(_one_of_two, (port, configs[1]), nprocs=2, start_method='fork')
    one = train(configs[0]).model.state_dict()
    two = torch.load(configs[1].work_dir + '/end.pth')
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4, msg=name)
    # Of the second process only its half is logged.
    first = [scalars(cfg)[0]['ratio_shared_cls'] for cfg in configs]
    assert all(value > 0 for value in first)


@pytest.mark.long
def test_a_teacher_is_trained_with_the_students_head(root):
    """Even where the weights that it starts from have another."""
    cfg = plain(root, 'shared')
    cfg.merge_from_dict(
        dict(
            model=dict(
                type='SharedHead',
                detector='FCOS',
                student=dict(
                    config=str(root / 'teacher.py'),
                    checkpoint=str(root / 'teacher_0.pth'),
                ),
                neck=dict(out_channels=48),
                bbox_head=dict(in_channels=48),
            ),
            load_from=str(root / 'teacher_1.pth'),
        )
    )
    cfg.train_cfg.max_epochs = 1
    train(cfg)
    ends = [load(root / f'teacher_{k}.pth')['state_dict'] for k in range(2)]
    trained = load(Path(cfg.work_dir, 'iter_2.pth'))['state_dict']
    assert {*trained} == {*ends[0]}
    for name, value in trained.items():
        if name.startswith('bbox_head'):
            assert torch.equal(value, ends[0][name]), name
    key = 'neck.fpn_convs.0.conv.weight'
    assert (trained[key] - ends[1][key]).abs().max() < 0.1
