"""A whole checkpoint is there while the next one is written."""

import logging
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from tresnet_det.training.hooks import WholeCheckpointHook


class Run(SimpleNamespace):
    """What the hook sees of a runner. ``save_checkpoint`` writes down which
    files there are at that moment, or fails."""

    logger = logging.getLogger('test')
    disk_full = False

    def __init__(self, folder, hub=None, **hook):
        super().__init__(
            work_dir=str(folder),
            epoch=0,
            iter=0,
            beside=[],
            max_epochs=2,
            max_iters=6,
            optim_wrapper=SimpleNamespace(_accumulative_counts=2),
            message_hub=MessageHub('test'),
            hook=WholeCheckpointHook(**dict(dict(interval=1, rule='greater'), **hook)),
        )
        if hub is not None:
            self.message_hub.load_state_dict(hub)
        self.hook.before_train(self)

    def save_checkpoint(self, out_dir, filename, *args, **kwargs):
        if self.disk_full:
            raise OSError('disk full')
        self.beside.append(self.files())
        self.saved = deepcopy(self.message_hub.state_dict())
        Path(out_dir, filename).touch()

    def files(self):
        return sorted(path.name for path in Path(self.work_dir).glob('*.pth'))

    def train(self, **metrics):
        """An epoch and its validation."""
        self.hook._save_checkpoint(self)
        self.epoch += 1
        if metrics:
            self.hook.after_val_epoch(self, metrics)
        return self.files()


def test_oldest_goes_after_the_new_one_is_whole(tmp_path):
    run = Run(tmp_path, max_keep_ckpts=1)
    assert run.train() == ['epoch_1.pth']
    assert run.train() == ['epoch_2.pth']
    assert run.beside == [[], ['epoch_1.pth']]
    run.disk_full = True
    with pytest.raises(OSError):
        run.train()
    assert run.files() == ['epoch_2.pth']
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_2.pth')


@pytest.mark.parametrize(
    'hook, every',
    [
        (dict(by_epoch=False), 1),
        (dict(by_epoch=False, interval=2), None),
        (dict(by_epoch=False, interval=2, save_begin=1), 2),
        (dict(), 3),
        (dict(interval=2), None),
    ],
)
def test_gradients_on_their_way_are_in_no_checkpoint(tmp_path, caplog, hook, every):
    Run.logger.disabled = False  # a library's set-up of logging disables others
    with caplog.at_level(logging.WARNING, logger=Run.logger.name):
        Run(tmp_path, **dict(dict(interval=1), **hook))
    assert bool(caplog.messages) == bool(every)
    assert not every or f'written every {every} iterations' in caplog.text


def test_all_are_kept(tmp_path):
    run = Run(tmp_path)
    run.train()
    assert run.train() == ['epoch_1.pth', 'epoch_2.pth']


def test_resumed_run_deletes_what_the_killed_one_could_not(tmp_path):
    run = Run(tmp_path, max_keep_ckpts=2)
    for _ in range(3):
        run.train()
    (tmp_path / 'epoch_1.pth').touch()  # killed before it was deleted
    for name in (
        '.epoch_4.pth.unfinished-a1_b2c3d',
        '.last_checkpoint.unfinished-a1_b2c3d',
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'part').touch()
    Run(tmp_path, run.saved, max_keep_ckpts=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'epoch_2.pth',
        'epoch_3.pth',
        'last_checkpoint',
    ]


def test_best_goes_after_the_better_one_is_whole(tmp_path):
    run = Run(tmp_path, max_keep_ckpts=1, save_best='AP')
    assert run.train(AP=0.5) == ['best_AP_epoch_1.pth', 'epoch_1.pth']
    assert run.train(AP=0.4) == ['best_AP_epoch_1.pth', 'epoch_2.pth']
    assert run.train(AP=0.6) == ['best_AP_epoch_3.pth', 'epoch_3.pth']
    assert 'best_AP_epoch_1.pth' in run.beside[-2]
    run.hook._save_checkpoint(run)
    run.epoch += 1
    run.disk_full = True
    with pytest.raises(OSError):
        run.hook.after_val_epoch(run, dict(AP=0.7))
    assert run.files() == ['best_AP_epoch_3.pth', 'epoch_4.pth']


def test_no_detections_no_ap_no_best(tmp_path):
    run = Run(tmp_path, save_best='AP')
    assert run.train(val_loss=1.0) == ['epoch_1.pth']
    assert 'best_AP_epoch_2.pth' in run.train(AP=0.1, val_loss=1.0)
    assert 'best_AP_epoch_2.pth' in run.train(val_loss=1.0)


def test_best_by_two_metrics(tmp_path):
    run = Run(tmp_path, save_best=['AP', 'mIoU'], max_keep_ckpts=1)
    run.train(AP=0.5, mIoU=0.5)
    assert run.train(AP=0.4, mIoU=0.6) == [
        'best_AP_epoch_1.pth',
        'best_mIoU_epoch_2.pth',
        'epoch_2.pth',
    ]
    assert run.train(AP=0.6, mIoU=0.4) == [
        'best_AP_epoch_3.pth',
        'best_mIoU_epoch_2.pth',
        'epoch_3.pth',
    ]


def test_best_score_is_written_after_a_validation_was_made_up_for(tmp_path):
    run = Run(tmp_path, save_best='AP')
    run.train()
    resumed = Run(tmp_path, run.saved, save_best='AP')
    resumed.epoch = 1
    resumed.hook.after_val_epoch(resumed, dict(AP=0.5))
    assert resumed.saved['runtime_info']['best_score'] == 0.5
    assert resumed.files() == ['best_AP_epoch_1.pth', 'epoch_1.pth']
