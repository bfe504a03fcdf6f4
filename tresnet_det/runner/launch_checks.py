"""Can a training or a test begin with these arguments, on this machine?

MMDetection's tools find out late, after the data were read, or by an
assertion that does not name the option.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device

from ..errors import UserError

__all__ = ['check_amp', 'check_launch']


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
            'several of them separated by spaces') from error
    cfg = _read_config(args)
    if args.launcher == 'pytorch' and 'RANK' not in os.environ:
        raise UserError(
            '--launcher pytorch expects to be started by torchrun, which '
            'tells each process its number: torchrun --nproc_per_node=8 '
            'tools/train.py ... --launcher pytorch')
    if getattr(args, 'auto_scale_lr', False) and 'base_batch_size' not in (
            cfg.get('auto_scale_lr') or {}):
        raise UserError(f'--auto-scale-lr: {args.config} does not say for '
                        'which batch its rate is; add auto_scale_lr = '
                        'dict(enable=False, base_batch_size=16)')
    if getattr(args, 'amp', False):
        check_amp('--amp')
    out = getattr(args, 'out', None)
    if out is not None and not out.endswith(('.pkl', '.pickle')):
        raise UserError(f'--out {out}: give a file that ends in .pkl')
    for option, file in (('CHECKPOINT', getattr(args, 'checkpoint', None)),
                         ('--resume', getattr(args, 'resume', None)),
                         ('load_from', None if 'checkpoint' in args else
                          cfg.get('load_from'))):
        if file and file != 'auto' and '://' not in file and not Path(
                file).is_file():
            what = 'is a directory' if Path(file).exists() else (
                'does not exist')
            raise UserError(f'{option} {file} {what}. Give the path of a '
                            'checkpoint')
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
            f"{option} needs a GPU, and torch finds none here. Train without "
            "it (optim_wrapper.type = 'OptimWrapper'), or look at nvidia-smi "
            'and CUDA_VISIBLE_DEVICES')


def _read_config(args: argparse.Namespace) -> Config:
    try:
        cfg = Config.fromfile(args.config)
    except Exception as error:  # a config is a program: anything can fail
        raise UserError(f'the config {args.config} cannot be read: '
                        f'{type(error).__name__}: {error}') from error
    try:
        cfg.merge_from_dict(args.cfg_options or {})
    except Exception as error:
        raise UserError(
            f'--cfg-options do not fit {args.config}: '
            f'{type(error).__name__}: {error}') from error
    wanted = ('train' if 'checkpoint' not in args else 'test')
    lacking = [key for key in ('model', f'{wanted}_dataloader',
                               f'{wanted}_cfg') if cfg.get(key) is None]
    if lacking:
        raise UserError(f'the config {args.config} lacks '
                        f'{", ".join(lacking)}: is it one of the _base_ '
                        'parts?')
    return cfg


def _check_writable(folder: str | os.PathLike) -> None:
    path = Path(folder).absolute()
    nearest = next(p for p in (path, *path.parents) if p.exists())
    own = os.access in os.supports_effective_ids  # not on each system
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK,
                                      effective_ids=own):
        return
    what = 'is a file' if nearest.is_file() else (
        'is read-only or belongs to someone else')
    raise UserError(f'the work_dir {folder} cannot be written: {nearest} '
                    f'{what}. Give another folder by --work-dir')
