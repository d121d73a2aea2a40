import pytest
import torch

from luss_mm.costs.machine import Machine
from luss_mm.costs.step_times import (
    CPU_SHARES,
    GPU_SHARE,
    CountedTimes,
)
from luss_mm.costs.trial_step import Step

CPU = Machine('CPU', 'cpu', 2, 1, 8 * 10**9, 0, 10**9, 10_000, dict(float32=1e9, bfloat16=2e9))
GPU = Machine('a GPU', 'cuda', 2, 1, 1, 10**9, 1, 1, dict(float32=1e9, bfloat16=2e9, float16=4e9))
STEP = Step(operations=7e9, parameters=1, trained=1, activations=1, loading=1.0)


class OneProduct:
    """Runs a matrix product an image."""

    operations, precision = 2.0 * 64**3, 'bfloat16'

    def __init__(self):
        self.batches = []

    def run(self, batch):
        self.batches.append(batch)
        return torch.ones(batch, 64, 64) @ torch.ones(64, 64)


def stage(kind, **model):
    return dict(optim_wrapper=dict(type=kind), model=model)


def test_operations_over_the_share_of_the_rate():
    seconds, peak = CountedTimes(CPU).training(stage('OptimWrapper'), STEP, (9, 9))
    assert seconds == pytest.approx(7 / CPU_SHARES['network']) and peak is None
    slow, _ = CountedTimes(CPU).training(stage('OptimWrapper', upsample=4), STEP, (9, 9))
    assert slow == pytest.approx(7 / CPU_SHARES['attention'])
    half, _ = CountedTimes(GPU).training(stage('AmpOptimWrapper', upsample=4), STEP, (9, 9))
    assert half == pytest.approx(7 / (4 * GPU_SHARE))
    found = CountedTimes(CPU).forward(OneProduct(), 8)
    assert found == pytest.approx(OneProduct.operations / (2e9 * CPU_SHARES['forward']))
