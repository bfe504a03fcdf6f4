"""The teacher: a trained model that is no part of its student."""

import hashlib
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope

from ..common.errors import UserError
from ..training.runner.checkpoint_checks import check_fit
from ..training.seeding import fixed_draws
from ..weights.fetch import fetch
from ..weights.files import read_weights

__all__ = ['Teacher', 'read_config']


def read_config(config: str | Path | dict) -> Config:
    """A config by its path, by 'mmdet::fcos/<name>.py', or as a dict.

    Raises:
        UserError: There is none.
    """
    if isinstance(config, dict):
        return Config(deepcopy(dict(config)))
    try:
        if '::' in str(config):
            return get_config(str(config))
        return Config.fromfile(config)
    except Exception as error:  # of the file system, of Python, of mmengine
        raise UserError(
            f"the teacher's config {config} cannot be read "
            f'({type(error).__name__}: {error}). Give teacher.config as a path, '
            "as 'mmdet::<family>/<name>.py' or as a dict"
        ) from error


class Teacher:
    """A trained model, read when it is first needed.

    No module of the student, which holds it as a plain object: it is in no
    parameters(), state dict, optimiser or process group, and a copy of the
    student (averaged weights) has the very same teacher. It is always in
    eval() and without gradients; reading it draws no random number.

    Args:
        config: See ``read_config``.
        checkpoint: Path, http(s) address or timm://NAME of its weights.
        shuffle_head: Permute each weight of the head that a student shares,
            at random but always alike. What the teacher itself finds stays:
            a control, to see whether it is the head that helps.
    """

    def __init__(
        self,
        config: str | Path | dict,
        checkpoint: str | Path,
        shuffle_head: bool = False,
    ) -> None:
        self.config = config
        self.checkpoint = checkpoint
        self.shuffle_head = shuffle_head
        self._cfg: Config | None = None
        self._model: BaseModel | None = None
        self._meta: dict[str, Any] = {}
        self._sha256 = ''

    def __deepcopy__(self, memo: dict) -> 'Teacher':
        return self

    def __getstate__(self) -> dict:
        return dict(self.__dict__, _model=None)

    @property
    def cfg(self) -> Config:
        """The whole config, ``data_preprocessor`` inside ``model``."""
        if self._cfg is None:
            cfg = read_config(self.config)
            if 'model' not in cfg:
                raise UserError(
                    "the teacher's config has no model; expected is that of a "
                    'training, dict(model=dict(type=...)) if it is a dict'
                )
            self._cfg = cfg
            if 'data_preprocessor' in self._cfg:  # as mmengine's runner does
                self._cfg.model.setdefault(
                    'data_preprocessor', self._cfg.data_preprocessor
                )
        return self._cfg

    @property
    def scope(self) -> str:
        return self.cfg.get('default_scope', 'mmdet')

    @property
    def sha256(self) -> str:
        """Of the checkpoint's file."""
        self.model  # noqa: B018  reads it
        return self._sha256

    @property
    def model(self) -> BaseModel:
        """The model itself, on the device where it was used last.

        Raises:
            UserError: Config or checkpoint cannot be read or do not fit.
        """
        if self._model is None:
            self._use(self._read())
        assert self._model is not None
        return self._model

    def untrained(self) -> None:
        """Goes on with random weights, to measure costs: without any file."""
        self._use(self._build())

    def on(self, device: torch.device) -> BaseModel:
        """The model, moved to a device if it is on another."""
        where = next(self.model.parameters()).device
        if where != device:
            self.model.to(device)
        return self.model

    def weights(self) -> list[torch.Tensor]:
        """All parameters and buffers, those that are lent out included."""
        return [*self.model.parameters(), *self.model.buffers()]

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The class names as its checkpoint tells them, else its config."""
        self.model  # noqa: B018  reads the checkpoint
        told = self._meta.get('dataset_meta') or self._meta
        names = told.get('classes') or told.get('CLASSES')
        if names is None:
            names = _configured_classes(self.cfg, self.scope)
        return None if names is None else tuple(names)

    def _read(self) -> BaseModel:
        if not self.checkpoint:
            raise UserError(
                f"the teacher's checkpoint is {self.checkpoint!r}; expected is a path, "
                'an address or timm://NAME'
            )
        path = fetch(
            self.checkpoint
            if isinstance(self.checkpoint, (str, Path))
            else str(self.checkpoint)
        )
        weights, self._meta = read_weights(path)
        with open(path, 'rb') as file:
            digest = hashlib.sha256()
            for chunk in iter(lambda: file.read(1 << 20), b''):
                digest.update(chunk)
        self._sha256 = digest.hexdigest()
        model = self._build()
        check_fit(model, weights, str(path))
        model.load_state_dict(weights, strict=False)
        return model

    def _build(self) -> BaseModel:
        with fixed_draws(0), DefaultScope.overwrite_default_scope(self.scope):
            return MODELS.build(deepcopy(self.cfg.model))

    def _use(self, model: BaseModel) -> None:
        model.requires_grad_(False)
        model.eval()
        self._model = model


def _configured_classes(cfg: Config, scope: str) -> Any:
    """What the training data set of a config calls its classes."""
    from mmengine.registry import DATASETS

    data = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    while inner := data.get('dataset') or (data.get('datasets') or [None])[0]:
        data = inner  # repeated, balanced, the first of several ...
    names = (data.get('metainfo') or {}).get('classes')
    if names is None and data.get('type'):
        with DefaultScope.overwrite_default_scope(scope):
            kind = data['type']
            kind = DATASETS.get(kind) if isinstance(kind, str) else kind
        names = getattr(kind, 'METAINFO', {}).get('classes')
    return names
