"""Checkpoints of which a whole one is there at any moment."""

import logging
from collections import deque
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...common.atomic import remove_unfinished, written_whole

__all__ = ['WholeCheckpointHook']


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """mmengine's hook; deletes old files after the new one is whole.

    mmengine's deletes the oldest checkpoint, and the best one, before it
    writes the next: whoever keeps one has none when a run is killed or the
    disk full at that moment. That a file is whole or not there is the
    runner's part, ``CheckedRunner.save_checkpoint``.
    """

    keep_ckpt_ids: deque

    def before_train(self, runner: Runner) -> None:
        """Removes what a killed run left beside its checkpoints."""
        super().before_train(runner)
        self._warn_of_lost_gradients(runner)
        # mmengine's adds a new best score to the last checkpoint only if it
        # wrote that itself, not if it resumed from it.
        self.last_ckpt = runner.message_hub.get_info('last_ckpt')
        if self.max_keep_ckpts > 0:
            # The file to delete stays listed until the new one is whole.
            self.keep_ckpt_ids = deque(self.keep_ckpt_ids)
        if is_main_process():
            remove_unfinished(runner.work_dir, 'last_checkpoint')
            if Path(self.out_dir).is_dir():
                remove_unfinished(self.out_dir, '*.pth')

    def _warn_of_lost_gradients(self, runner: Runner) -> None:
        """No checkpoint holds gradients that wait for the next update."""
        counts = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        unit = runner.max_iters // runner.max_epochs if self.by_epoch else 1
        if self.interval > 0 and (
            self.interval * unit % counts or self.save_begin * unit % counts
        ):
            runner.logger.warning(
                f'checkpoints are written every {self.interval * unit} '
                f'iterations, the weights are updated every {counts}: a run '
                'resumed between two updates loses gradients and ends with '
                "other numbers. Choose multiples for CheckpointHook's "
                'interval and save_begin'
            )

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if self.max_keep_ckpts > 0:
            if step not in self.keep_ckpt_ids:
                self.keep_ckpt_ids.append(step)
            # A run that resumes from the new file deletes the surplus.
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            filename,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            with written_whole(Path(runner.work_dir, 'last_checkpoint')) as part:
                part.write_text(self.last_ckpt)
        while 0 < self.max_keep_ckpts < len(self.keep_ckpt_ids):
            self._remove(
                self.file_backend.join_path(
                    self.out_dir,
                    self.filename_tmpl.format(self.keep_ckpt_ids.popleft()),
                )
            )

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        # An evaluation without any detection has no AP, which mmengine's
        # looks up; None is passed over.
        absent = [key for key in self.key_indicators if key not in ('auto', *metrics)]
        if absent:
            print_log(
                f'no best checkpoint is looked for: the evaluation gave '
                f'no {", ".join(absent)}',
                'current',
                logging.WARNING,
            )
            metrics = {**metrics, **dict.fromkeys(absent)}
        # mmengine's removes the former best file if it knows of one.
        former = self._best_files()
        self._set_best_files(dict.fromkeys(former))
        super()._save_best_checkpoint(runner, metrics)
        new = self._best_files()
        self._set_best_files({key: new[key] or path for key, path in former.items()})
        for key, path in former.items():
            if path and new[key] not in (None, path):
                self._remove(path)

    def _best_files(self) -> dict[str, Any]:
        """Path of the best checkpoint by each metric, None for none yet."""
        if len(self.key_indicators) == 1:
            return {'': self.best_ckpt_path}
        return dict(self.best_ckpt_path_dict)

    def _set_best_files(self, files: dict[str, Any]) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = files['']
        else:
            self.best_ckpt_path_dict = files

    def _remove(self, path: str) -> None:
        if is_main_process():
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
            elif self.file_backend.isdir(path):  # deepspeed's are folders
                self.file_backend.rmtree(path)
