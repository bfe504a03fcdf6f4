"""Can a training or a test begin with these arguments, on this machine?

MMDetection's tools find out late, after the data were read, or by an
assertion that does not name the option.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device

from ...common.errors import UserError

__all__ = ['check_amp', 'check_launch']

# What mmengine reads of the environment, and what sets it.
_LAUNCHERS = dict(
    pytorch=(['RANK'], 'torchrun --nproc_per_node=8'),
    slurm=(['SLURM_PROCID'], 'srun --ntasks=8'),
    mpi=(
        ['OMPI_COMM_WORLD_LOCAL_RANK', 'MASTER_ADDR'],
        'mpirun -np 8 -x MASTER_ADDR=127.0.0.1',
    ),
)
# mmengine takes all parts of a line or none.
_TOGETHER = dict(
    train=('train_dataloader', 'train_cfg', 'optim_wrapper'),
    val=('val_dataloader', 'val_cfg', 'val_evaluator'),
    test=('test_dataloader', 'test_cfg', 'test_evaluator'),
)


def check_launch(parse_args: Callable[[], argparse.Namespace]) -> None:
    """Checks the arguments of MMDetection's train.py or test.py.

    Args:
        parse_args: The tool's own.

    Raises:
        UserError: The message names the option or the file.
    """
    try:
        args = parse_args()
    except ValueError as error:
        raise UserError(
            f'--cfg-options cannot be read ({error}): expected KEY=VALUE, '
            'several of them separated by spaces'
        ) from error
    cfg = _read_config(args)
    variables, starter = _LAUNCHERS.get(args.launcher, ([], ''))
    absent = [name for name in variables if name not in os.environ]
    if absent:
        raise UserError(
            f'--launcher {args.launcher} expects {" and ".join(absent)} in '
            'the environment, which tells each process its number or where '
            f'the others are: {starter} .venv/bin/python tools/train.py ... '
            f'--launcher {args.launcher}'
        )
    if getattr(args, 'auto_scale_lr', False) and 'base_batch_size' not in (
        cfg.get('auto_scale_lr') or {}
    ):
        raise UserError(
            f'--auto-scale-lr: {args.config} does not say for '
            'which batch its rate is; add auto_scale_lr = '
            'dict(enable=False, base_batch_size=16)'
        )
    if getattr(args, 'amp', False):
        check_amp('--amp')
    out = getattr(args, 'out', None)
    if out is not None and not out.endswith(('.pkl', '.pickle')):
        raise UserError(f'--out {out}: give a file that ends in .pkl')
    for option, file in (
        ('CHECKPOINT', getattr(args, 'checkpoint', None)),
        ('--resume', getattr(args, 'resume', None)),
        ('load_from', None if 'checkpoint' in args else cfg.get('load_from')),
    ):
        if file and file != 'auto' and '://' not in file and not Path(file).is_file():
            what = 'is a directory' if Path(file).exists() else ('does not exist')
            raise UserError(f'{option} {file} {what}. Give the path of a checkpoint')
    _check_writable(args.work_dir or cfg.get('work_dir') or './work_dirs')


def check_amp(option: str) -> None:
    """Refuses mixed precision where there is no accelerator.

    Args:
        option: What asked for it, for the message.

    Raises:
        UserError: There is none.
    """
    if get_device() in ('cpu', 'mps'):
        raise UserError(
            f'{option} needs a GPU, and torch finds none here. Train without '
            "it (optim_wrapper.type = 'OptimWrapper'), or look at nvidia-smi "
            'and CUDA_VISIBLE_DEVICES'
        )


def _read_config(args: argparse.Namespace) -> Config:
    try:
        cfg = Config.fromfile(args.config)
    except Exception as error:  # a config is a program: anything can fail
        raise UserError(
            f'the config {args.config} cannot be read: {type(error).__name__}: {error}'
        ) from error
    try:
        cfg.merge_from_dict(args.cfg_options or {})
    except Exception as error:
        raise UserError(
            f'--cfg-options do not fit {args.config}: {type(error).__name__}: {error}'
        ) from error
    wanted = 'train' if 'checkpoint' not in args else 'test'
    lacking = ['model'] if cfg.get('model') is None else []
    for split, keys in _TOGETHER.items():
        absent = [key for key in keys if cfg.get(key) is None]
        if split == wanted or len(absent) < len(keys):
            lacking += absent
    if lacking:
        raise UserError(
            f'the config {args.config} lacks '
            f'{", ".join(lacking)}: is it one of the _base_ '
            'parts? A split that is not wanted has None for its '
            'dataloader, cfg and evaluator'
        )
    return cfg


def _check_writable(folder: str | os.PathLike) -> None:
    """Tried, not asked: permissions do not tell of read-only disks."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=str(folder)):
            pass
    except OSError as error:
        why = 'it is a file' if isinstance(error, FileExistsError) else error.strerror
        raise UserError(
            f'the work_dir {folder} cannot be written: {why}. '
            'Give another folder by --work-dir'
        ) from error
