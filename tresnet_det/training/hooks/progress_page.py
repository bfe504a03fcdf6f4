"""A page under the work folder that shows how the training goes.

Any config gets it by one line:

    custom_hooks = [dict(type='ProgressPage')]

or ``[*_base_.custom_hooks, dict(type='ProgressPage')]`` on a base with some.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...evaluation.visualizer import ManyClassesVisualizer
from ..progress_page import write_page

__all__ = ['ProgressPage']


@HOOKS.register_module()
class ProgressPage(Hook):
    """Writes ``progress.html`` anew after each evaluation while training.

    It shows the last figures, the curves of all runs in the work folder, and
    the detections of the evaluation on the same few val images each time. No
    image passes the network again, and no random number is drawn. Whatever
    fails here is a warning: the training goes on.

    Args:
        num_images: How many images, spread evenly over the val split.
        score_thr: Weaker detections are not drawn.
    """

    priority = 'LOWEST'  # after the figures are logged

    def __init__(self, num_images: int = 6, score_thr: float = 0.3) -> None:
        self.num_images = num_images
        self.score_thr = score_thr
        self.drawn: dict[str, np.ndarray] = {}
        self.seen = 0
        self.training = False

    def before_train(self, runner: Runner) -> None:
        self.training = is_main_process()

    def after_train(self, runner: Runner) -> None:
        self.training = False

    def before_val_epoch(self, runner: Runner) -> None:
        self.drawn, self.seen = {}, 0

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Draws the images of this batch that belong on the page."""
        if not self.training:
            return
        try:
            every = max(
                len(runner.val_dataloader.dataset) // max(self.num_images, 1), 1
            )
            for sample in outputs or ():
                if self.seen % every == 0 and len(self.drawn) < self.num_images:
                    self._draw(runner, sample)
                self.seen += 1
        except Exception as error:  # of whatever kind: it is only a page
            self._warn(runner, error)

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Writes the page."""
        if not self.training:
            return
        try:
            page = write_page(
                runner.work_dir,
                Path(runner.work_dir).name,
                f'epoch {runner.epoch} of {runner.max_epochs}, iteration {runner.iter} '
                f'of {runner.max_iters}',
                self.drawn,
            )
            runner.logger.info(f'progress: {page}')
        except Exception as error:
            self._warn(runner, error)

    def _draw(self, runner: Runner, sample: Any) -> None:
        picture = cv2.imread(sample.img_path)
        assert picture is not None
        visualizer = ManyClassesVisualizer()
        visualizer.dataset_meta = runner.visualizer.dataset_meta
        visualizer.add_datasample(
            '',
            np.ascontiguousarray(picture[..., ::-1]),
            sample,
            pred_score_thr=self.score_thr,
        )
        self.drawn[Path(sample.img_path).name] = visualizer.get_image()

    def _warn(self, runner: Runner, error: Exception) -> None:
        runner.logger.warning(
            f'the page with the progress could not be written: '
            f'{type(error).__name__}: {error}. The training goes on'
        )
