"""Random numbers of the model that a resumed run draws again."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..generators import kept_generators, seed_generators
from ..seeding import set_seeds

__all__ = ['IterationSeedHook']


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Sets all generators before each training step, see ``seeding``.

    As in MMEngine, all processes begin with the same seed: layers that drop
    units or paths drop the same ones for the first image of each process, and
    so on. ``randomness = dict(diff_rank_seed=True)`` adds the process's
    number to the seed of the model, here in each step; what is drawn of the
    data stays the same.
    """

    priority = 3  # after the highest; what other hooks draw or note comes after

    def __init__(self) -> None:
        self._generators: list[Any] = []

    def before_train(self, runner: Runner) -> None:
        # Those that layers, or parts of the model that are none, keep.
        self._generators = kept_generators(*map(vars, runner.model.modules()))

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        # With diff_rank_seed this is the seed plus the rank.
        set_seeds(runner.seed, runner.iter)
        seed_generators(self._generators, runner.seed, runner.iter)
