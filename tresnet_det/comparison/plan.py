"""What a comparison consists of: arms, each trained with several seeds.

Nothing is written here.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..common.config_files import read_config
from ..common.errors import UserError
from .equality import (
    annotations_of,
    check_batch,
    classes_of,
    dataset_of,
    differences,
    digest,
    evaluator_of,
)
from .run import Run

__all__ = ['check_comparable', 'config_of', 'plan_arm']


def _logged_configs(work_dir: Path) -> list[Path]:
    """The configs that the trainings in a work folder wrote down."""
    return sorted(work_dir.glob('*/vis_data/config.py')) or sorted(
        work_dir.glob('*.py') if any(work_dir.glob('*/*.log')) else (),
        key=lambda path: path.stat().st_mtime_ns,
    )


def _work_dirs(folder: Path) -> list[Path]:
    """The folder itself if a training logged there, else such below it."""
    if _logged_configs(folder):
        return [folder]
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.is_dir() and _logged_configs(path)
    ]
    if not found:
        raise FileNotFoundError(
            f'neither {folder} nor a folder in it holds the log and config of '
            'a training: expected a config file (.py), the work folder of a '
            'training, or a folder of such work folders'
        )
    return found


def config_of(work_dir: Path) -> Config:
    """The config that a work folder's latest training wrote down."""
    return Config.fromfile(_logged_configs(work_dir)[-1])


def _with_data(cfg: Config, root: str) -> None:
    """Lets a config read its data from another folder."""
    old = cfg.get('data_root') or dataset_of(cfg.val_dataloader).get('data_root')
    if not old:
        raise UserError(f'{cfg.filename} names no data_root that --data could replace')
    old, root = old.rstrip('/'), root.rstrip('/')

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            for key in value:
                value[key] = moved(value[key])
        elif isinstance(value, (list, tuple)):
            return type(value)(map(moved, value))
        elif isinstance(value, str) and f'{value}/'.startswith(f'{old}/'):
            return root + value[len(old) :]
        return value

    moved(cfg._cfg_dict)


def plan_arm(
    given: Path,
    out_dir: Path,
    seeds: Sequence[int],
    data: str | None = None,
    options: Mapping[str, Any] | None = None,
    gpus: int = 1,
) -> list[Run]:
    """The runs of one arm.

    Args:
        given: Config file, work folder of a training that someone else made,
            or a folder of such work folders, one a seed.
        out_dir: Where the comparison writes.
        seeds: One run each; given work folders have theirs already.
        data: Folder in place of the config's ``data_root``.
        options: What overrides a config file, by dotted names.
        gpus: Processes of a training.

    Raises:
        FileNotFoundError: ``given`` is neither.
        UserError: The runs of the arm, or a run and what its folder holds
            already, differ in more than seeds; no given work folder is
            finished; a seed is given twice; or the learning rate is for
            another batch.
    """
    if given.is_dir():
        runs = []
        for folder in _work_dirs(given):
            cfg = config_of(folder)
            if data:
                _with_data(cfg, data)
            runs.append(
                Run(
                    given.name,
                    folder.name,
                    cfg,
                    folder,
                    out_dir / given.name / folder.name,
                )
            )
        _check_same(runs)
        if not any(run.finished for run in runs):
            raise UserError(
                f'no training in {given} is finished: '
                + ', '.join(f'{run.label} {run.state}' for run in runs)
                + '. Go on with tools/train.py --resume, or give its config '
                'to train it here'
            )
        return runs
    if len(set(seeds)) < len(seeds):
        raise UserError(
            f'--seeds {" ".join(map(str, seeds))} names a seed '
            'twice, which would be the same run'
        )
    base = read_config(given, ('model', 'train_dataloader', 'val_dataloader'))
    base.merge_from_dict(dict(options or {}))
    if data:
        _with_data(base, data)
    check_batch(base, gpus)
    base.compared_annotations = annotations_of(base)
    runs = []
    for seed in seeds:
        cfg = deepcopy(base)
        cfg.merge_from_dict(dict(randomness=dict(seed=seed)))
        work_dir = out_dir / given.stem / f'seed_{seed}'
        cfg.work_dir = str(work_dir)
        run = Run(given.stem, f'seed_{seed}', cfg, work_dir, work_dir, gpus)
        if run.done:
            _check_same(
                [
                    run,
                    Run(
                        run.arm,
                        'in the folder',
                        config_of(work_dir),
                        work_dir,
                        work_dir,
                    ),
                ]
            )
        runs.append(run)
    return runs


def _check_same(runs: Sequence[Run]) -> None:
    """Refuses to treat as one what was trained in several ways."""
    for run in runs[1:]:
        found = differences(runs[0].cfg, run.cfg)
        processes = runs[0].processes, run.processes
        if None not in processes and processes[0] != processes[1]:
            found['processes'] = processes
        if found:
            lines = '\n'.join(
                f'  {name}: {a!r} and {b!r}' for name, (a, b) in found.items()
            )
            raise UserError(
                f'{runs[0].work_dir} and {run} differ in more than the '
                f'seed, so they are not one arm:\n{lines}\n'
                'give them as arms of their own, or another --out-dir'
            )


def check_comparable(arms: Sequence[Sequence[Run]]) -> None:
    """Refuses arms that are not evaluated on the same task.

    Raises:
        UserError: The val annotations or the classes differ, or two arms
            have one name.
    """
    names = [runs[0].arm for runs in arms]
    if len(set(names)) < len(names):
        raise UserError(
            f'two arms have the same name: {names}; copy one of '
            'the configs to a file of another name'
        )
    tasks: dict[tuple, tuple[Run, Path]] = {}
    for run in (run for runs in arms for run in runs):
        truth = Path(evaluator_of(run.cfg).ann_file)
        if not truth.is_file():
            raise FileNotFoundError(
                f'{run}: the val annotations {truth} are not there; --data '
                'names the folder of the data set'
            )
        tasks.setdefault((digest(truth), classes_of(run.cfg)), (run, truth))
    if len(tasks) > 1:
        raise UserError(
            'the runs are evaluated on different data, so their AP cannot be '
            'compared:\n'
            + '\n'.join(
                f'  {run}: {truth} (sha256 {sha[:12]}), classes '
                f'{classes or "of the data set"}'
                for (sha, classes), (run, truth) in tasks.items()
            )
        )
