"""The base of what init_cfg can fill with published TResNet weights."""

from mmengine.model import BaseModule

from .pretrained import load_pretrained

__all__ = ['PretrainedModule']


class PretrainedModule(BaseModule):
    """An mmengine module whose 'Pretrained' init_cfg takes every format.

    The other fields of dict(type='Pretrained', ...) are the arguments of
    `load_pretrained`; other kinds of init_cfg are mmengine's.
    """

    def init_weights(self) -> None:
        """Initialise as init_cfg says, once.

        Raises:
            CheckpointError: See `load_pretrained`.
        """
        cfg = self.init_cfg
        if isinstance(cfg, dict) and cfg.get('type') == 'Pretrained':
            if not self.is_init:
                load_pretrained(self, **{k: v for k, v in cfg.items() if k != 'type'})
                self._is_init = True
        else:
            super().init_weights()
