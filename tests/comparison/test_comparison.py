"""The comparison: what it accepts as equal, what it reads, what it writes."""

import json
import os
import shutil
import subprocess
import sys
import threading
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import cv2
import pytest
import torch
from mmengine.config import Config

from tresnet_det.common.errors import UserError
from tresnet_det.comparison import report, training
from tresnet_det.comparison.cost import measure_costs
from tresnet_det.comparison.equality import differences
from tresnet_det.comparison.estimate import plan_table
from tresnet_det.comparison.evaluation import read_findings
from tresnet_det.comparison.plan import check_comparable, plan_arm
from tresnet_det.comparison.run import Run
from tresnet_det.data.demo_data import make_demo_data
from tresnet_det.environment import versions
from tresnet_det.evaluation.figures import COCO_FIGURES

ROOT = Path(__file__).parents[2]
DEMO = ROOT / 'configs/demo/fcos_tresnet-m_fpn_demo.py'

COSTS: dict = {}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('comparison') / 'data'
    make_demo_data(root, num_train=4, num_val=3)
    return root


@pytest.fixture(scope='module')
def configs(tmp_path_factory):
    """Two small arms, ``small`` and ``narrow``: two epochs of two steps."""
    root = tmp_path_factory.mktemp('configs')
    small = root / 'small.py'
    small.write_text(
        f'_base_ = {str(DEMO)!r}\n'
        'model = dict(backbone=dict(arch=dict(\n'
        '    _delete_=True, depths=(1, 1, 1, 1), width=8)),\n'
        '    neck=dict(in_channels=[8, 16, 128, 256]))\n'
        'train_dataloader = dict(batch_size=2)\n'
        'auto_scale_lr = dict(base_batch_size=2)\n'
        'train_cfg = dict(max_epochs=2, val_interval=1)\n'
        "custom_hooks = [dict(type='ValLossHook')]\n"
    )
    narrow = root / 'narrow.py'
    narrow.write_text(
        f'_base_ = {str(small)!r}\nmodel = dict(bbox_head=dict(stacked_convs=1))\n'
    )
    return small, narrow


def pretend(
    run: Run, epochs: int, found: list[dict], ap: float = 0.5, processes: int = 1
) -> None:
    """The files that a training leaves after some epochs."""
    vis = run.work_dir / '20260101_000000' / 'vis_data'
    vis.mkdir(parents=True, exist_ok=True)
    run.cfg.dump(vis / 'config.py')
    (vis.parent / '20260101_000000.log').write_text(
        f'System environment:\n    GPU number: {processes}\n'
    )
    lines = [dict(loss=3.0 - k / 10, time=60.0, step=k) for k in range(1, 5)]
    lines += [
        {'coco/bbox_mAP': ap * k / 2, 'val_loss': 3.0 / k, 'step': k}
        for k in range(1, epochs + 1)
    ]
    (vis / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))
    name = f'epoch_{epochs}.pth'
    torch.save(
        dict(meta=dict(epoch=epochs, iter=2 * epochs), state_dict={}),
        run.work_dir / name,
    )
    (run.work_dir / 'last_checkpoint').write_text(f'/elsewhere/{name}')
    if epochs >= run.length:
        run.out_dir.mkdir(parents=True, exist_ok=True)
        run.detections.write_text(json.dumps(found))
        run.evaluated.write_text(json.dumps(run.subject))


def detections(data: Path, wrong: int = 0) -> list[dict]:
    """Perfect ones, but for the first boxes' classes."""
    truth = json.loads((data / 'annotations/instances_val.json').read_text())
    return [
        dict(
            image_id=a['image_id'],
            bbox=a['bbox'],
            score=0.9,
            category_id=a['category_id']
            if k >= wrong
            else truth['categories'][0]['id'],
        )
        for k, a in enumerate(truth['annotations'])
    ]


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    """Arms of the same names are measured once; their costs: test_costs_*."""

    def once(cfgs, *repeats):
        key = (*cfgs, *repeats)
        if key not in COSTS:
            COSTS[key] = measure_costs(cfgs, *repeats)
        return COSTS[key]

    monkeypatch.setattr(report, 'measure_costs', once)


@pytest.fixture
def arms(configs, data, tmp_path):
    return [plan_arm(config, tmp_path, [0, 1], str(data)) for config in configs]


def test_one_run_a_seed_with_its_own_config(arms, data):
    for runs, name in zip(arms, ('small', 'narrow')):
        assert [str(run) for run in runs] == [f'{name} seed_0', f'{name} seed_1']
        for seed, run in enumerate(runs):
            cfg = run.cfg
            assert cfg.randomness.seed == seed and run.state == 'new'
            assert cfg.work_dir == str(run.work_dir)
            for split in ('train', 'val'):
                dataset = cfg[f'{split}_dataloader'].dataset
                assert Path(dataset.data_root) == data
            assert Path(cfg.val_evaluator.ann_file).parent.parent == data
    check_comparable(arms)


def test_only_what_matters_differs(arms):
    (one, seed), (other, _) = arms
    assert not differences(one.cfg, seed.cfg)
    assert differences(one.cfg, other.cfg) == {'model.bbox_head.stacked_convs': (2, 1)}
    changed = deepcopy(one.cfg)
    changed.optim_wrapper.optimizer.lr = 1.0
    changed.param_scheduler.pop()
    found = differences(one.cfg, changed)
    assert found['optim_wrapper.optimizer.lr'] == (0.001, 1.0)
    assert found['param_scheduler.1.type'] == ('CosineAnnealingLR', None)


def test_options_go_into_every_run(configs, tmp_path):
    (run,) = plan_arm(configs[0], tmp_path, [7], None, {'train_cfg.max_epochs': 5})
    assert run.length == 5 and run.cfg.randomness.seed == 7


def test_states_and_estimate(arms, data):
    (first, second), (third, fourth) = arms
    pretend(first, 2, detections(data))
    pretend(second, 1, [])
    third.out_dir.mkdir(parents=True)
    third.failure.write_text('it went wrong')
    assert [r.state for r in (first, second, third)] == [
        'finished',
        'stopped at 1 of 2',
        'failed',
    ]
    # Four steps of 60 s, as logged, and evaluations: half of it is left. The
    # other arm's are timed here.
    text = plan_table(arms)
    minutes = [
        float(line.split('|')[6]) for line in text.splitlines() if ' seed_' in line
    ]
    assert minutes[0] == 0 and minutes[1] == 2 and 'hours left' in text
    assert 'hours left' not in plan_table(arms, estimate=False)


def test_checkpoints_of_iterations_count_their_epoch(arms):
    """Such a file has the epochs before its own in it."""
    run = arms[0][0]
    pretend(run, 1, [])
    for iterations, epochs in ((3, 1), (4, 2)):
        torch.save(
            dict(
                meta=dict(epoch=1, iter=iterations),
                state_dict={},
                message_hub=dict(runtime_info=dict(max_epochs=2, max_iters=4)),
            ),
            run.work_dir / 'epoch_1.pth',
        )
        assert run.done == epochs


def test_a_run_that_ended_early_is_finished(arms):
    run = arms[0][0]
    pretend(run, 1, [])
    assert not run.finished
    run.ended.touch()
    assert run.finished


def test_a_finished_run_may_lose_its_checkpoints(arms, data):
    """Whoever needs the space does not lose what was found."""
    run = arms[0][0]
    pretend(run, 2, detections(data))
    run.ended.touch()
    for file in run.work_dir.glob('*.pth'):
        file.unlink()
    assert run.state == 'finished' and run.is_evaluated
    training.train(run)
    training.evaluate(run)
    assert not list(run.work_dir.glob('*/train.py*'))
    run.evaluated.unlink()
    with pytest.raises(UserError, match='no checkpoint is left .* delete .*ended'):
        training.evaluate(run)


def test_damaged_checkpoints_are_a_failure_of_their_run(arms):
    run = arms[0][0]
    pretend(run, 1, [])
    (run.work_dir / 'epoch_1.pth').write_bytes(b'PK')
    assert run.state == 'new'
    with pytest.raises(ValueError, match='no checkpoint is whole'):
        training.train(run)


def test_moved_work_folder_keeps_its_checkpoint(arms):
    run = arms[0][0]
    pretend(run, 1, [])  # last_checkpoint names /elsewhere
    assert run.checkpoint == run.work_dir / 'epoch_1.pth'


def test_continuing_with_another_config_is_refused(configs, data, tmp_path):
    (run,) = plan_arm(configs[0], tmp_path, [0], str(data))
    pretend(run, 1, [])
    plan_arm(configs[0], tmp_path, [0], str(data))
    with pytest.raises(ValueError, match='optimizer.lr: 0.5 and 0.001'):
        plan_arm(
            configs[0], tmp_path, [0], str(data), {'optim_wrapper.optimizer.lr': 0.5}
        )


def test_other_train_data_is_refused(configs, data, tmp_path):
    """By content: the same files elsewhere are the same."""
    (run,) = plan_arm(configs[0], tmp_path, [0], str(data))
    pretend(run, 1, [])
    shutil.copytree(data, tmp_path / 'same')
    plan_arm(configs[0], tmp_path, [0], str(tmp_path / 'same'))
    make_demo_data(tmp_path / 'other', num_train=2, num_val=2, seed=3)
    with pytest.raises(ValueError, match='annotations.train: '):
        plan_arm(configs[0], tmp_path, [0], str(tmp_path / 'other'))


@pytest.mark.parametrize('option', ['sync_bn', 'skip_corrupt_images'])
def test_what_only_the_runner_reads_differs_too(arms, option):
    changed = deepcopy(arms[0][0].cfg)
    changed[option] = True
    assert differences(arms[0][0].cfg, changed) == {option: (None, True)}


def test_weights_to_begin_with_are_kept(arms):
    """MMDetection's --resume takes load_from out: no other training."""
    one, other = (deepcopy(arms[0][0].cfg) for _ in range(2))
    other.load_from = 'coco.pth'
    assert differences(one, other) == {'load_from': (None, 'coco.pth')}
    one.resume = True
    assert not differences(one, other)


def test_only_what_was_begun_is_resumed(arms, monkeypatch):
    """It would train without the weights of load_from."""
    called = []
    monkeypatch.setattr(
        training, '_call', lambda *arguments, **_: called.append(arguments)
    )
    for epochs, resumed in ((0, False), (1, True)):
        run = arms[epochs][0]
        if epochs:
            pretend(run, epochs, [])
        training.train(run)
        assert ('--resume' in called.pop()) == resumed and run.ended.exists()


def test_other_batches_are_refused(configs, data, tmp_path):
    for gpus, options in ((8, None), (1, {'train_dataloader.batch_size': 3})):
        with pytest.raises(ValueError, match='is for batches of 2 images'):
            plan_arm(configs[0], tmp_path, [0], str(data), options, gpus)
    options = {'auto_scale_lr.base_batch_size': 4}
    (run,) = plan_arm(configs[0], tmp_path, [0], str(data), options, gpus=2)
    assert run.batch == '2 x 2'
    pretend(run, 1, [], processes=2)
    plan_arm(configs[0], tmp_path, [0], str(data), options, gpus=2)
    pretend(run, 1, [], processes=1)
    with pytest.raises(ValueError, match='processes: 2 and 1'):
        plan_arm(configs[0], tmp_path, [0], str(data), options, gpus=2)


def test_a_seed_counts_once(configs, data, tmp_path):
    with pytest.raises(ValueError, match='names a seed twice'):
        plan_arm(configs[0], tmp_path, [0, 1, 0], str(data))


def test_detections_of_another_checkpoint_do_not_count(arms, data):
    run = arms[0][0]
    pretend(run, 2, detections(data))
    assert run.is_evaluated
    os.utime(run.work_dir / 'epoch_2.pth', (1, 1))
    assert not run.is_evaluated


def test_finished_work_folders(arms, data, tmp_path):
    for run in arms[0]:
        pretend(run, 2, detections(data))
    given = plan_arm(tmp_path / 'small', tmp_path / 'out', [5])
    assert [r.label for r in given] == ['seed_0', 'seed_1']
    assert all(r.finished and r.gpus is None for r in given)
    assert given[0].processes == 1 and given[0].batch == '1 x 2'
    assert given[0].out_dir == tmp_path / 'out' / 'small' / 'seed_0'
    (alone,) = plan_arm(tmp_path / 'small' / 'seed_1', tmp_path / 'out', [])
    assert alone.cfg.randomness.seed == 1
    with pytest.raises(FileNotFoundError, match='log and config of a'):
        plan_arm(data, tmp_path / 'out', [0])


def test_unfinished_work_folders_are_refused(arms, tmp_path):
    for run in arms[0]:
        pretend(run, 1, [])
    with pytest.raises(ValueError, match='seed_1 stopped at 1 of 2. Go on'):
        plan_arm(tmp_path / 'small', tmp_path / 'out', [])


def test_work_folders_of_several_kinds_are_no_arm(arms, data, tmp_path):
    for run, folder in ((arms[0][0], 'a'), (arms[1][0], 'b')):
        pretend(
            Run(
                run.arm, folder, run.cfg, tmp_path / 'mixed' / folder, tmp_path / folder
            ),
            2,
            detections(data),
        )
    with pytest.raises(ValueError, match='stacked_convs: 2 and 1'):
        plan_arm(tmp_path / 'mixed', tmp_path / 'out', [0])


def test_other_val_data_cannot_be_compared(arms, configs, tmp_path):
    make_demo_data(tmp_path / 'other', num_train=2, num_val=2, seed=3)
    other = plan_arm(configs[1], tmp_path, [0], str(tmp_path / 'other'))
    with pytest.raises(ValueError, match='different data'):
        check_comparable([arms[0], other])
    with pytest.raises(ValueError, match='the same name'):
        check_comparable([arms[0], arms[0]])
    nowhere = plan_arm(configs[1], tmp_path, [0], str(tmp_path / 'no'))
    with pytest.raises(FileNotFoundError, match='--data names the folder'):
        check_comparable([arms[0], nowhere])


def test_findings(arms, data):
    run = arms[0][0]
    pretend(run, 2, detections(data))
    found = read_findings(run)
    assert list(found.figures) == list(COCO_FIGURES)
    assert found.figures['AP'] == pytest.approx(1)
    assert len(found.classes) == 6
    assert all(ap in (-1, pytest.approx(1)) for ap in found.classes.values())
    assert found.precision[0.75].tolist() == [1.0] * 101
    assert found.train_loss.tolist() == [[1, 2.9], [2, 2.8], [3, 2.7], [4, 2.6]]
    assert found.val_loss.tolist() == [[1, 3.0], [2, 1.5]]
    # The last AP is that of the detections, not what was logged.
    assert found.val_ap.tolist() == [[1, 0.25], [2, pytest.approx(1)]]


def test_costs_are_measured_on_the_same_images(arms):
    costs = measure_costs({runs[0].arm: runs[0].cfg for runs in arms}, 1)
    small, narrow = costs['small'], costs['narrow']
    assert small.params > narrow.params and small.macs > narrow.macs
    assert small.kept > narrow.kept > 1
    assert small.train_size == narrow.train_size == (2, 160, 160)
    assert len(small.train) == len(narrow.infer) == 1


@pytest.fixture
def written(arms, data, tmp_path):
    """A report on runs of which one failed: its text and its folder."""
    for wrong, run in ((0, arms[0][0]), (1, arms[0][1]), (3, arms[1][0])):
        pretend(run, 2, detections(data, wrong))
    failed = arms[1][1]
    failed.out_dir.mkdir(parents=True)
    failed.failure.write_text('train.py stopped with status 1:\nout of luck')
    path = report.write_report(arms, tmp_path, 'the command', repeats=0, max_images=2)
    return path.read_text(), tmp_path


def test_report_averages_finished_runs_only(written):
    text, folder = written
    figures = json.loads((folder / 'figures.json').read_text())
    small = [run['AP'] for run in figures['small']]
    assert small[0] == pytest.approx(1) and small[1] < 1
    mean, spread = sum(small) / 2, abs(small[0] - small[1]) / 2**0.5
    assert f'| small | 2 of 2 | {100 * mean:.1f} ± {100 * spread:.1f} ' in text
    alone = figures['narrow'][0]['AP']
    assert f'| narrow | 1 of 2 | {100 * alone:.1f} |' in text
    assert '| narrow | seed_1 | failed | 1 x 2 | - |' in text
    assert 'out of luck' in text
    assert 'AP' not in figures['narrow'][1]


def test_names_of_classes_stay_in_their_cells(arms, data, tmp_path):
    pretend(arms[0][0], 2, detections(data, 0))

    def renamed(run):
        return replace(read_findings(run), classes={'a|b\n<c> `d`': 0.5})

    with patch.object(report, 'read_findings', renamed):
        path = report.write_report(arms, tmp_path, 'x', repeats=0, max_images=0)
    row = next(line for line in path.read_text().splitlines() if '50.0 | -' in line)
    assert row == r'| a\|b \<c\> \`d\` | 50.0 | - |'


def test_report_names_what_differs_and_what_is_not_ours(written):
    text, folder = written
    assert '| `model.bbox_head.stacked_convs` | `2` | `1` |' in text
    assert '| *TResNet-M (the paper, COCO)* | *not said* | *44.0* | -' in text
    assert 'reported in arXiv:2003.13630v3' in text
    assert '| trained by | not recorded |' in text
    for name in ('ap.png', 'loss.png', 'precision_recall.png'):
        assert f'(plots/{name})' in text
        assert cv2.imread(str(folder / 'plots' / name)) is not None
    pictures = sorted((folder / 'plots' / 'detections').iterdir())
    assert len(pictures) == 2
    shape = cv2.imread(str(pictures[0])).shape
    assert shape[1] > 3 * shape[0] * 0.9  # truth and two arms


@pytest.mark.parametrize(
    'one, other, words',
    [
        (
            [0.5, 0.52],
            [0.4, 0.42],
            ['**-10.0 AP**', '7.1 times the spread', 'No seed of one arm'],
        ),
        ([0.5, 0.6], [0.55, 0.56], ['**+0.5 AP**', 'overlap']),
        ([0.5], [0.6, 0.7], ['**+15.0 AP**', 'nothing can be said']),
        ([0.5, 0.5], [0.6, 0.6], ['**+10.0 AP**', 'agree to the last digit']),
        ([], [0.6], ['no finished run']),
    ],
)
def test_verdict(one, other, words):
    text = report._verdict(['a', 'b'], [one, other])
    assert all(word in text for word in words), text


def test_a_process_left_behind_is_waited_for(arms, capfd):
    """The lock goes with the training, not with who began it."""
    run = arms[0][0]
    with training._claimed(run) as lock:
        left = subprocess.Popen(
            [sys.executable, '-c', 'open(input(), "w")'],
            stdin=subprocess.PIPE,
            pass_fds=[lock],
        )
    # Let go of here, and still claimed over there.
    done = run.out_dir / 'done'
    threading.Timer(1, left.communicate, [f'{done}\n'.encode()]).start()
    with training._claimed(run):
        assert done.exists()
    assert 'still at work there' in capfd.readouterr().out


def test_failed_tool_says_its_last_words(arms, tmp_path, monkeypatch):
    run = arms[0][0]
    run.out_dir.mkdir(parents=True)
    (tmp_path / 'tool.py').write_text("raise SystemExit('no luck today')")
    monkeypatch.setattr(training, 'TOOLS', tmp_path)
    with pytest.raises(RuntimeError, match='status 1:\nno luck today'):
        with training._claimed(run) as lock:
            training._call(run, lock, 'tool.py')


def test_config_without_coco_metric_is_refused(arms):
    cfg = Config(dict(val_evaluator=dict(type='VOCMetric')))
    run = Run('voc', 'seed_0', cfg, Path('x'), Path('x'))
    with pytest.raises(ValueError, match='needs one CocoMetric'):
        check_comparable([[run], arms[0]])


def test_last_words_are_those_of_the_error():
    text = """Traceback (most recent call last):
ValueError: out of luck
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
  error_file: <N/A>
  traceback : To enable traceback see: https://pytorch.org
============"""
    assert training._last_words(text) == 'ValueError: out of luck'
    assert training._last_words('a\n\nb\nc\nd\n') == 'b\nc\nd'


def test_commit_of_another_projects_clone_is_not_ours(tmp_path, monkeypatch):
    assert ', commit ' in versions.commit()
    monkeypatch.setattr(versions, 'PACKAGE', tmp_path / 'site')
    (tmp_path / 'site').mkdir()
    (tmp_path / 'site' / '__init__.py').touch()
    (tmp_path / 'tracked').touch()
    for command in (
        ['init', '-q'],
        ['add', 'tracked'],
        ['-c', 'user.name=a', '-c', 'user.email=b', 'commit', '-qm', 'c'],
    ):
        subprocess.run(['git', *command], cwd=tmp_path, check=True)
    assert ', commit ' not in versions.commit()


def test_costs_that_cannot_be_measured_lose_nothing(written, arms, tmp_path):
    with patch.object(
        report, 'measure_costs', side_effect=RuntimeError('out of memory')
    ):
        text = report.write_report(arms, tmp_path, '', 0).read_text()
    assert 'Not measured: RuntimeError: out of memory' in text
    assert '| small | 2 of 2 |' in text


def test_picture_that_cannot_be_read_loses_nothing(written, arms, data, tmp_path):
    with (
        patch.object(report, 'measure_costs', side_effect=RuntimeError),
        patch('cv2.imread', return_value=None),
    ):
        text = report.write_report(arms, tmp_path, '', 0).read_text()
    assert 'Not drawn: cannot read the image' in text


@pytest.mark.long
def test_the_command(configs, data, tmp_path):
    """Trains, evaluates, and keeps what is good when the other arm fails."""
    broken = tmp_path / 'broken.py'
    broken.write_text(
        f"_base_ = {str(configs[0])!r}\ncustom_hooks = [dict(type='NoSuchHook')]\n"
    )
    command = [
        sys.executable,
        ROOT / 'tools/compare.py',
        configs[1],
        broken,
        '--data',
        data,
        '--out-dir',
        tmp_path / 'out',
        '--repeats',
        '0',
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert 'not in the comparison: broken seed_0 (failed)' in done.stderr
    text = (tmp_path / 'out/report.md').read_text()
    assert '| narrow | seed_0 | finished | 1 x 2 | 0.' in text
    assert '| broken | seed_0 | failed | 1 x 2 | - |' in text
    assert 'NoSuchHook is not in' in text
    (run,) = plan_arm(configs[1], tmp_path / 'out', [0], str(data))
    assert run.is_evaluated and run.ended.exists()
