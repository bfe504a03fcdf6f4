"""Counts and lists the images that could not be used."""

from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

__all__ = ['SkippedImagesHook']

_SHOWN = 20


@HOOKS.register_module()
class SkippedImagesHook(Hook):
    """Tells at the end, and after each evaluation, what was skipped.

    Each start of a run counts anew, as the file lies in the folder of its
    log; an epoch meets all images, so after a resumed one the list is whole.

    Args:
        log: File to which ``LoadCheckedImage`` adds a line whenever an image
            fails, in whichever process.
    """

    def __init__(self, log: str) -> None:
        self.log = Path(log)

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        black = self._lines('taken as black')
        if black:
            runner.logger.warning(
                f'{len(black)} images could not be used and were evaluated as '
                'black ones: their objects count as missed, so the figures '
                f'above are too low; {self.log} names them'
            )

    after_test_epoch = after_val_epoch

    def after_run(self, runner: Runner) -> None:
        for kind in ('left out', 'taken as black'):
            lines = self._lines(kind)
            more = len(lines) - _SHOWN
            if lines:
                runner.logger.warning(
                    '\n  '.join(
                        [
                            f'{len(lines)} images were {kind} (all in {self.log}):',
                            *lines[:_SHOWN],
                            *([f'and {more} more'] if more > 0 else []),
                        ]
                    )
                )

    def _lines(self, kind: str) -> list[str]:
        """Each image once, though each epoch met it."""
        lines = self.log.read_text().splitlines() if self.log.exists() else ()
        return sorted(line for line in set(lines) if line.startswith(kind))
