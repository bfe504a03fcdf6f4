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
        for idx, data_batch in enumerate(self.dataloader, done):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _batches_done(self) -> int:
        """Batches of this epoch that the checkpoint had; they are skipped."""
        hub, length = self.runner.message_hub, len(self.dataloader)
        # What is in the hub is in every checkpoint.
        last = hub.get_info('epoch_begin', dict(epoch=-1))
        done = self._iter - last['iter'] if last['epoch'] == self._epoch else 0
        if done and last['length'] != length:
            print_log(
                f'the checkpoint is from the middle of an epoch of '
                f"{last['length']} batches, now there are {length}; the epoch "
                'begins anew', 'current', logging.WARNING)
            done = 0
        hub.update_info('epoch_begin', dict(
            epoch=self._epoch, iter=self._iter - done, length=length))
        batches = self.dataloader.batch_sampler
        if isinstance(batches, NumberedBatches):
            batches.iteration, batches.skip = self._iter, done
        return done

    def _validate(self) -> None:
        """Validates if it is due and the checkpoint is not from after it."""
        self._decide_current_val_interval()
        hub = self.runner.message_hub
        if (self.runner.val_loop is not None
                and self._epoch >= self.val_begin
                and (self._epoch % self.val_interval == 0
                     or self._epoch == self._max_epochs)
                and hub.get_info('last_validation') != self._epoch):
            # Said first: what a hook saves after the validation must know.
            hub.update_info('last_validation', self._epoch)
            self.runner.val_loop.run()
