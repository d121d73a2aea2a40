import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from luss_mm.costs.machine import Machine
from luss_mm.costs.step_times import (
    CPU_SHARES,
    DECODER,
    GPU_SHARE,
    CountedTimes,
    MeasuredTimes,
    clustering_operations,
    sam_operations,
)
from luss_mm.costs.trial_step import Step
from luss_mm.models.segmenters.sam_network import build_sam, resolve_sizes

CPU = Machine('CPU', 'cpu', 2, 1, 8 * 10**9, 0, 10**9, 10_000, dict(float32=1e9, bfloat16=2e9))
GPU = Machine('a GPU', 'cuda', 2, 1, 1, 10**9, 1, 1, dict(float32=1e9, bfloat16=2e9, float16=4e9))
STEP = Step(operations=7e9, parameters=1, trained=1, activations=1, loading=1.0)
SMALL_SAM = dict(
    image_size=64,
    encoder_channels=32,
    encoder_depth=2,
    encoder_heads=2,
    global_attention=(1,),
    window_size=2,
    prompt_channels=16,
)


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


def test_k_means_compares_all_points_with_all_centroids():
    assert clustering_operations(10, 3, 4, 5) == 10 * 3 * 4 * 5 * 2
    seconds = CountedTimes(CPU).clustering(1000, 10, 5, 100)
    assert seconds == pytest.approx(1000 * 10 * 5 * 100 * 2 / (1e9 * CPU_SHARES['clustering']))


def test_sam_is_counted_without_weights():
    sizes = resolve_sizes(SMALL_SAM)
    encoder = build_sam(sizes).image_encoder.eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        encoder(torch.zeros(1, 3, 64, 64))
    assert sam_operations(sizes) == counter.get_total_flops() > 0
    seconds = CountedTimes(CPU).segmenting(sizes, 'float32')
    expected = DECODER * counter.get_total_flops() / (1e9 * CPU_SHARES['segmenter'])
    assert seconds == pytest.approx(expected)


def test_measuring_runs_the_real_thing():
    times, trial = MeasuredTimes(CPU), OneProduct()
    assert times.forward(trial, 6) > 0 and set(trial.batches) == {6}
    assert times.clustering(50, 4, 3, 20) > 0
    assert times.segmenting(resolve_sizes(SMALL_SAM), 'float32') > 0
