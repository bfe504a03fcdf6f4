"""One training of an arm, and what its files tell of it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..common.errors import UserError
from ..training.runner.resume import find_whole_checkpoint, read_mapped
from .equality import digest, evaluator_of

__all__ = ['Run']


@dataclass(frozen=True, eq=False)
class Run:
    """One training of an arm.

    Attributes:
        arm: Name of what is compared, the config's.
        label: Which of the arm's runs, ``seed_0`` or a folder's name.
        cfg: The whole config, with seed and work_dir.
        work_dir: Where checkpoints and logs lie.
        out_dir: Where what the comparison finds of it goes.
        gpus: Processes to train it with; None for a run that someone else
            trained, which is evaluated only.
    """

    arm: str
    label: str
    cfg: Config
    work_dir: Path
    out_dir: Path
    gpus: int | None = None

    def __str__(self) -> str:
        return f'{self.arm} {self.label}'

    @property
    def by_epoch(self) -> bool:
        return 'max_epochs' in self.cfg.train_cfg

    @property
    def length(self) -> int:
        """Epochs, or iterations of an iteration-based schedule."""
        train = self.cfg.train_cfg
        return train.max_epochs if self.by_epoch else train.max_iters

    @property
    def processes(self) -> int | None:
        """Of its training, as planned or else as it logged them."""
        if self.gpus is not None:
            return self.gpus
        for log in sorted(self.work_dir.glob('*/*.log'), reverse=True):
            found = re.search(
                r'^ +GPU number: (\d+)$', log.read_text(errors='replace'), re.MULTILINE
            )
            if found:
                return int(found[1])
        return None

    @property
    def batch(self) -> str:
        """Images of a step, over how many processes."""
        images = self.cfg.train_dataloader.batch_size
        return f'{self.processes or "?"} x {images}'

    @property
    def checkpoint(self) -> Path | None:
        """The latest checkpoint that is whole, if there is one.

        Raises:
            UserError: There are checkpoints, but none is whole.
        """
        files = any(self.work_dir.glob('*.pth'))
        if not files and not (self.work_dir / 'last_checkpoint').exists():
            return None
        try:
            found = find_whole_checkpoint(self.work_dir)
        except UserError:
            if files or not self.ended.exists():
                raise
            return None  # deleted since, to make room
        return None if found is None else Path(found)

    @property
    def done(self) -> int:
        """Epochs or iterations that the latest checkpoint has behind it."""
        try:
            checkpoint = self.checkpoint
        except UserError:  # training it says so
            return 0
        if self.ended.exists():
            return self.length
        if checkpoint is None:
            return 0
        content = read_mapped(checkpoint)
        meta = content['meta']
        if not self.by_epoch:
            return meta['iter']
        # A file that was written by iterations does not count its own epoch.
        info = content.get('message_hub', {}).get('runtime_info', {})
        if 'max_iters' in info:
            return meta['iter'] * info['max_epochs'] // info['max_iters']
        return meta['epoch']

    @property
    def finished(self) -> bool:
        return self.done >= self.length

    @property
    def ended(self) -> Path:
        """Says that the training came to its end, maybe before its length."""
        return self.out_dir / 'ended'

    @property
    def failure(self) -> Path:
        """Holds the last words of a run that failed."""
        return self.out_dir / 'failure.txt'

    @property
    def detections(self) -> Path:
        """COCO results on the val split, once they are there."""
        return self.out_dir / 'detections.bbox.json'

    @property
    def evaluated(self) -> Path:
        """Says of what the detections are, as `subject` does."""
        return self.out_dir / 'evaluated.json'

    @property
    def subject(self) -> dict[str, Any]:
        """What an evaluation would be of: checkpoint and annotations."""
        checkpoint = self.checkpoint
        if checkpoint is not None:
            stat = checkpoint.stat()
            of = dict(
                checkpoint=checkpoint.name, size=stat.st_size, written=stat.st_mtime_ns
            )
        elif self.evaluated.exists():  # of one that has been deleted since
            of = json.loads(self.evaluated.read_text())
        else:
            return {}
        return dict(of, annotations=digest(Path(evaluator_of(self.cfg).ann_file)))

    @property
    def is_evaluated(self) -> bool:
        """Whether the detections are those of the finished run."""
        return (
            self.finished
            and self.detections.exists()
            and self.evaluated.exists()
            and json.loads(self.evaluated.read_text()) == self.subject
        )

    @property
    def state(self) -> str:
        """'finished', 'failed', 'stopped at 3 of 10' or 'new'."""
        if self.failure.exists():
            return 'trained, evaluation failed' if self.finished else 'failed'
        if self.finished:
            return 'finished'
        if self.done:
            return f'stopped at {self.done} of {self.length}'
        return 'new'
