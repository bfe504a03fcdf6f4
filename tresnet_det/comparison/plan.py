"""What a comparison consists of: arms, each trained with several seeds.

Nothing is written here; `Run.state` tells from the files how far a run is.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from ..errors import UserError
from ..runner.resume import find_whole_checkpoint

__all__ = ['Run', 'check_comparable', 'classes_of', 'config_of',
           'dataset_of', 'differences', 'evaluator_of', 'plan_arm']

# Where and in what way a run was made, not what it computes.
_CIRCUMSTANCES = ('work_dir', 'resume', 'launcher', 'randomness.seed',
                  'default_hooks.logger', 'val_evaluator.ann_file')
_READ_BY_RUNNER = frozenset((
    'model', 'train_dataloader', 'val_dataloader', 'val_evaluator',
    'train_cfg', 'val_cfg', 'optim_wrapper', 'param_scheduler',
    'auto_scale_lr', 'custom_hooks', 'default_hooks', 'load_from',
    'runner_type', 'randomness'))


def _leaves(value: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a nested config, lists by index."""
    if isinstance(value, Mapping) and value:
        for key in value:
            yield from _leaves(value[key], f'{name}.{key}' if name else key)
    elif isinstance(value, (list, tuple)) and any(
            isinstance(item, (Mapping, list, tuple)) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, f'{name}.{index}')
    else:
        yield name, list(value) if isinstance(value, tuple) else value


def differences(one: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """Where two configs say different things, circumstances left out.

    Only the parts that a run reads are compared, not the helper variables
    that a config computes them from.

    Returns:
        Dotted name -> both values, None where one says nothing.
    """
    def read(cfg: Config) -> dict[str, Any]:
        used = {key: value for key, value in cfg.to_dict().items()
                if key in _READ_BY_RUNNER}
        return {name: value for name, value in _leaves(used)
                if not f'{name}.'.startswith(
                    tuple(f'{c}.' for c in _CIRCUMSTANCES))
                and not name.endswith(('_scope_', 'data_root'))}

    left, right = read(one), read(other)
    return {name: (left.get(name), right.get(name))
            for name in sorted({*left, *right})
            if left.get(name) != right.get(name)}


def dataset_of(loader: Config) -> Config:
    """The data set of a loader's config inside its wrappers, if any."""
    dataset = loader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset


def evaluator_of(cfg: Config) -> Config:
    """The one COCO metric that the val split is evaluated by.

    Raises:
        UserError: There is none, or more than one.
    """
    evaluator = cfg.get('val_evaluator')
    if isinstance(evaluator, (list, tuple)) and len(evaluator) == 1:
        evaluator = evaluator[0]
    if not isinstance(evaluator, Mapping) or not evaluator.get('ann_file'):
        raise UserError(
            f'{cfg.filename}: val_evaluator is {evaluator}, but a comparison '
            'needs one CocoMetric with an ann_file')
    return evaluator


def classes_of(cfg: Config) -> tuple[str, ...] | None:
    """The class names that the val data set is given, None for its own."""
    meta = dataset_of(cfg.val_dataloader).get('metainfo') or {}
    return tuple(meta['classes']) if 'classes' in meta else None


@dataclass(frozen=True, eq=False)
class Run:
    """One training of an arm.

    Attributes:
        arm: Name of what is compared, the config's.
        label: Which of the arm's runs, ``seed_0`` or a folder's name.
        cfg: The whole config, with seed and work_dir.
        work_dir: Where checkpoints and logs lie.
        out_dir: Where what the comparison finds of it goes.
        given: Someone else trained it; here it is evaluated only.
    """

    arm: str
    label: str
    cfg: Config
    work_dir: Path
    out_dir: Path
    given: bool = False

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
    def checkpoint(self) -> Path | None:
        """The latest checkpoint that is whole, if there is one."""
        found = find_whole_checkpoint(self.work_dir)
        return None if found is None else Path(found)

    @property
    def done(self) -> int:
        """Epochs or iterations that the latest checkpoint has behind it."""
        checkpoint = self.checkpoint
        if checkpoint is None:
            return 0
        meta = torch.load(checkpoint, 'cpu', weights_only=True,
                          mmap=True)['meta']
        return meta['epoch' if self.by_epoch else 'iter']

    @property
    def finished(self) -> bool:
        return self.done >= self.length

    @property
    def failure(self) -> Path:
        """Holds the last words of a run that failed."""
        return self.out_dir / 'failure.txt'

    @property
    def detections(self) -> Path:
        """COCO results on the val split, once they are there."""
        return self.out_dir / 'detections.bbox.json'

    @property
    def state(self) -> str:
        """'finished', 'failed', 'stopped at 3 of 10' or 'new'."""
        if self.finished:
            return 'finished'
        if self.failure.exists():
            return 'failed'
        if self.done:
            return f'stopped at {self.done} of {self.length}'
        return 'new'


def _work_dirs(folder: Path) -> list[Path]:
    """The folder itself if a training logged there, else such below it."""
    found = [path for path in (folder, *sorted(folder.iterdir()))
             if any(path.glob('*/vis_data/config.py'))]
    if not found:
        raise FileNotFoundError(
            f'neither {folder} nor a folder in it holds */vis_data/config.py: '
            'expected a config file (.py), the work folder of a training, or '
            'a folder of such work folders')
    return found[:1] if found[0] == folder else found


def config_of(work_dir: Path) -> Config:
    """The config that a work folder's latest training wrote down."""
    return Config.fromfile(max(work_dir.glob('*/vis_data/config.py')))


def _with_data(cfg: Config, root: str) -> None:
    """Lets a config read its data from another folder."""
    old = cfg.get('data_root') or dataset_of(
        cfg.train_dataloader).get('data_root')
    if not old:
        raise UserError(
            f'{cfg.filename} names no data_root that --data could replace')
    old, root = old.rstrip('/'), root.rstrip('/')

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            for key in value:
                value[key] = moved(value[key])
        elif isinstance(value, (list, tuple)):
            return type(value)(map(moved, value))
        elif isinstance(value, str) and f'{value}/'.startswith(f'{old}/'):
            return root + value[len(old):]
        return value

    moved(cfg._cfg_dict)


def plan_arm(given: Path, out_dir: Path, seeds: Sequence[int],
             data: str | None = None,
             options: Mapping[str, Any] | None = None) -> list[Run]:
    """The runs of one arm.

    Args:
        given: Config file, work folder of a training that someone else made,
            or a folder of such work folders, one a seed.
        out_dir: Where the comparison writes.
        seeds: One run each; given work folders have theirs already.
        data: Folder in place of the config's ``data_root``.
        options: What overrides the config, by dotted names.

    Raises:
        FileNotFoundError: ``given`` is neither.
        UserError: The runs of the arm, or a run and what its folder holds
            already, differ in more than seeds.
    """
    if given.is_dir():
        runs = [Run(given.name, folder.name, config_of(folder), folder,
                    out_dir / given.name / folder.name, given=True)
                for folder in _work_dirs(given)]
        _check_same(runs)
        return runs
    base = Config.fromfile(given)
    base.merge_from_dict(dict(options or {}))
    if data:
        _with_data(base, data)
    runs = []
    for seed in seeds:
        cfg = deepcopy(base)
        cfg.merge_from_dict(dict(randomness=dict(seed=seed)))
        work_dir = out_dir / given.stem / f'seed_{seed}'
        cfg.work_dir = str(work_dir)
        run = Run(given.stem, f'seed_{seed}', cfg, work_dir, work_dir)
        if run.done:
            _check_same([run, Run(run.arm, 'in the folder',
                                  config_of(work_dir), work_dir, work_dir)])
        runs.append(run)
    return runs


def _check_same(runs: Sequence[Run]) -> None:
    """Refuses to treat as one what was trained in several ways."""
    for run in runs[1:]:
        found = differences(runs[0].cfg, run.cfg)
        if found:
            lines = '\n'.join(f'  {name}: {a!r} and {b!r}'
                              for name, (a, b) in found.items())
            raise UserError(
                f'{runs[0].work_dir} and {run} differ in more than the '
                f'seed, so they are not one arm:\n{lines}\n'
                'give them as arms of their own, or another --out-dir')


def check_comparable(arms: Sequence[Sequence[Run]]) -> None:
    """Refuses arms that are not evaluated on the same task.

    Raises:
        UserError: The val annotations or the classes differ, or two arms
            have one name.
    """
    names = [runs[0].arm for runs in arms]
    if len(set(names)) < len(names):
        raise UserError(f'two arms have the same name: {names}; copy one of '
                        'the configs to a file of another name')
    tasks: dict[tuple, tuple[Run, Path]] = {}
    for run in (run for runs in arms for run in runs):
        truth = Path(evaluator_of(run.cfg).ann_file)
        if not truth.is_file():
            raise FileNotFoundError(
                f'{run}: the val annotations {truth} are not there; --data '
                'names the folder of the data set')
        task = (hashlib.sha256(truth.read_bytes()).hexdigest(),
                classes_of(run.cfg))
        tasks.setdefault(task, (run, truth))
    if len(tasks) > 1:
        raise UserError(
            'the runs are evaluated on different data, so their AP cannot be '
            'compared:\n' + '\n'.join(
                f'  {run}: {truth} (sha256 {sha[:12]}), classes '
                f"{classes or 'of the data set'}"
                for (sha, classes), (run, truth) in tasks.items()))
