"""Random numbers of training that start from (seed, epoch or iteration, rank)."""

import random

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop
from mmseg.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Reseeds all generators: at the first iteration of every epoch, or at every iteration.

    The latter in iteration-based training, which knows no epochs and may resume anywhere. mmengine
    saves no generator states, so without this a resumed run would draw other numbers. The
    reseeding waits until the data loader has drawn its own seed: whether it does so depends on
    whether its workers are still alive.
    """

    priority = 'VERY_HIGH'
    by_iteration = False

    def before_train(self, runner) -> None:
        """See which kind of training this is."""
        self.by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop)

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Reseed if the epoch begins, or in any case where iterations are counted."""
        if not self.by_iteration and batch_idx != 0:
            return
        number = runner.iter if self.by_iteration else runner.epoch
        words = np.random.SeedSequence([runner.seed, number, runner.rank]).generate_state(3)
        random.seed(int(words[0]))
        np.random.seed(int(words[1]))
        torch.manual_seed(int(words[2]))
