"""Random numbers of training that start from (seed, epoch, rank)."""

import random

import numpy as np
import torch
from mmengine.hooks import Hook
from mmseg.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Reseeds all generators at the first iteration of every epoch.

    mmengine saves no generator states, so without this a resumed run would draw other numbers. The
    reseeding waits until the data loader has drawn its own seed: whether it does so depends on
    whether its workers are still alive.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Reseed if the epoch begins."""
        if batch_idx != 0:
            return
        words = np.random.SeedSequence([runner.seed, runner.epoch, runner.rank]).generate_state(3)
        random.seed(int(words[0]))
        np.random.seed(int(words[1]))
        torch.manual_seed(int(words[2]))
