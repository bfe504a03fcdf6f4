"""The training loop of our runner."""

import logging

from mmengine.logging import print_log
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop
from torch import nn

from ..seeding import NumberedBatches

__all__ = ['ResumableTrainLoop']


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """mmengine's loop over epochs; goes on exactly where it was stopped.

    mmengine's begins the epoch of a checkpoint anew, keeps the iteration's
    number and never makes up for a validation that was due after the
    checkpoint. This one goes on with the next batch, and with that validation.
    """

    def run(self) -> nn.Module:
        """Launches training, see mmengine's loop."""
        self.runner.call_hook('before_train')
        if self._iter:
            self._validate()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Iterates what is left of one epoch."""
        done = self._batches_done()
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        # Where batches cannot be skipped unread, they are read.
        first = done if self._numbered() else 0
        for idx, data_batch in enumerate(self.dataloader, first):
            if idx >= done:
                self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _batches_done(self) -> int:
        """Batches of this epoch that the checkpoint had; they are skipped."""
        hub, length = self.runner.message_hub, len(self.dataloader)
        # What is in the hub is in every checkpoint.
        last = hub.get_info('epoch_begin', dict(epoch=-1, length=length))
        done = self._iter - last['iter'] if last['epoch'] == self._epoch else 0
        if self._iter and last['length'] != length:
            ended = done == last['length']  # nothing is left of the epoch
            print_log(
                f'the checkpoint is of epochs of {last["length"]} batches, '
                f'now they have {length}: the data, the batch size or the '
                'number of processes changed, while schedules go on at '
                f'iteration {self._iter}'
                + ('; the epoch begins anew' if done and not ended else ''),
                'current',
                logging.WARNING,
            )
            done = length if ended else 0
        hub.update_info(
            'epoch_begin',
            dict(epoch=self._epoch, iter=self._iter - done, length=length),
        )
        if self._numbered():
            batches = self.dataloader.batch_sampler
            batches.iteration, batches.skip = self._iter, done
        elif done:
            print_log(
                f'the first {done} batches of the epoch are read and passed '
                'over, as the data loader was not built from a config',
                'current',
                logging.WARNING,
            )
        return done

    def _numbered(self) -> bool:
        return isinstance(self.dataloader.batch_sampler, NumberedBatches)

    def _validate(self) -> None:
        """Validates if it is due and the checkpoint is not from after it."""
        self._decide_current_val_interval()
        hub = self.runner.message_hub
        if (
            self.runner.val_loop is not None
            and self._epoch >= self.val_begin
            and (
                self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
            )
            and hub.get_info('last_validation') != self._epoch
        ):
            # Said first: what a hook saves after the validation must know.
            hub.update_info('last_validation', self._epoch)
            self.runner.val_loop.run()
