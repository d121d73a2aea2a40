"""Seconds of what a run does: from operations and the machine's matrix rate, or measured."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from luss_mm.costs.machine import BFLOAT16, FLOAT32, Machine, seconds_of
from luss_mm.costs.trial_step import Step, measure_step, median_seconds, precision_of
from luss_mm.functional.kmeans import fit_kmeans
from luss_mm.models.segmenters.sam_network import SAMSizes, build_sam

# Share of the matrix rate that is reached. CPU: measured, docs/cost.md. The attention works on
# enlarged maps, where moving numbers takes longer than multiplying them. GPU: assumed.
CPU_SHARES = dict(network=0.7, attention=0.4, forward=0.85, clustering=0.6, segmenter=0.5)
GPU_SHARE = 0.3
TRIAL_POINTS, TRIAL_ITERATIONS = 20_000, 4  # of a measured k-means
DECODER = 1.035  # SAM with its decoder to its encoder alone, measured: docs/performance.md


class Trial(Protocol):
    """A network that runs on so many copies of an image."""

    operations: float
    precision: str

    def run(self, batch: int) -> Any:
        """Forward pass."""


class CountedTimes:
    """Operations over the share of the matrix rate that networks reach.

    Args:
        machine: Where the run will be.
    """

    measured = False

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def training(
        self, stage: Mapping[str, Any], step: Step, image_size: tuple[int, int]
    ) -> tuple[float, int | None]:
        """Seconds of a step without loading, and its peak memory on the GPU if that is known."""
        precision = precision_of(stage, self.machine.device)
        kind = 'attention' if has_attention(stage['model']) else 'network'
        return self._seconds(step.operations, precision, kind), None

    def forward(self, trial: Trial, batch: int) -> float:
        """Seconds an image of a forward pass without gradients, in batches of so many."""
        return self._seconds(trial.operations, trial.precision, 'forward')

    def clustering(self, num_points: int, channels: int, num_clusters: int, passes: int) -> float:
        """Seconds of so many passes of k-means over all points."""
        operations = clustering_operations(num_points, channels, num_clusters, passes)
        return self._seconds(operations, FLOAT32, 'clustering')

    def segmenting(self, sizes: SAMSizes, precision: str) -> float:
        """Seconds of SAM for an image."""
        operations = DECODER * sam_operations(sizes)
        return self._seconds(operations, precision, 'segmenter')

    def _seconds(self, operations: float, precision: str, kind: str) -> float:
        rates = self.machine.rates
        share = GPU_SHARE if self.machine.device == 'cuda' else CPU_SHARES[kind]
        return operations / (share * rates.get(precision, rates[FLOAT32]))


class MeasuredTimes(CountedTimes):
    """The same steps, timed on made-up images."""

    measured = True

    def training(
        self, stage: Mapping[str, Any], step: Step, image_size: tuple[int, int]
    ) -> tuple[float, int | None]:
        """See `CountedTimes`."""
        found = measure_step(stage, step, image_size, self.machine.device)
        return found.seconds, found.peak_memory

    def forward(self, trial: Trial, batch: int) -> float:
        """See `CountedTimes`."""
        return median_seconds(lambda: trial.run(batch), self.machine.device) / batch

    def clustering(self, num_points: int, channels: int, num_clusters: int, passes: int) -> float:
        """Of random points; no more than 20,000 of them."""
        points = max(min(num_points, TRIAL_POINTS), num_clusters)
        embeddings = np.random.default_rng(0).random((points, channels), dtype=np.float32)
        seconds = seconds_of(
            lambda: fit_kmeans(embeddings, num_clusters, TRIAL_ITERATIONS, 1),
            'cuda' if self.machine.device == 'cuda' else 'cpu',
        )
        return seconds * num_points / points * passes / (TRIAL_ITERATIONS + 2)

    def segmenting(self, sizes: SAMSizes, precision: str) -> float:
        """Of one image and random weights, with the decoder's usual share."""
        device = self.machine.device
        encoder = build_sam(sizes).image_encoder.to(device).eval()
        side = sizes.image_size
        images = torch.zeros(1, 3, side, side, device=device)
        lower = device == 'cuda' and precision != FLOAT32 or precision == BFLOAT16

        def encode() -> None:
            with (
                torch.inference_mode(),
                torch.autocast(device, dtype=getattr(torch, precision), enabled=lower),
            ):
                encoder(images)

        return DECODER * seconds_of(encode, device)


def has_attention(model: Mapping[str, Any]) -> bool:
    """Whether a model's config is one of pixel attention."""
    return 'upsample' in model


def clustering_operations(num_points: int, channels: int, num_clusters: int, passes: int) -> float:
    """Of the products of all points with all centroids."""
    return 2.0 * num_points * channels * num_clusters * passes


def sam_operations(sizes: SAMSizes) -> float:
    """Of SAM's image encoder for one image; no weights are made."""
    with torch.device('meta'), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        build_sam(sizes).image_encoder.eval()(torch.empty(1, 3, sizes.image_size, sizes.image_size))
    return float(counter.get_total_flops())
