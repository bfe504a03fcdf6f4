"""Any data of one's own, of whatever tool, as a COCO-format set to train on."""

from .make import Options, Result, make_own_data

__all__ = ['Options', 'Result', 'make_own_data']
