"""Clusters and attention to label maps: one ImageNet-S coded PNG an image."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log

from luss_mm.datasets.transforms import GeneratePseudoLabel
from luss_mm.functional.kmeans import squared_distances
from luss_mm.functional.label_health import count_unusual_clusters, median_of_counts
from luss_mm.functional.pixel_assignment import resize_nearest
from luss_mm.functional.pixel_attention import upsample_features
from luss_mm.models.attended_backbone import AttendedInference
from luss_mm.pipeline.image_batches import (
    ShardedBatches,
    stack_features,
    stack_images,
    write_label_maps,
)
from luss_mm.work_dir.artifact import produce
from luss_mm.work_dir.run_folder import (
    EMPTY_IMAGES,
    FULL_IMAGES,
    MEAN_FOREGROUND,
    MEDIAN_FOREGROUND,
    write_outcomes,
)
from luss_mm.work_dir.shards import FinishedShards

# Counted image by image, and summed up before they are written: 'images of cluster 3': 17 ...
CLUSTER, PER_MILLE = 'images of cluster ', 'images with foreground per mille '


@dataclass(frozen=True)
class PixelLabeller:
    """What turns a batch of images into label maps.

    Attributes:
        model: Backbone and attention, in the precision that an artifact's settings tell.
        centroids: float32 (K, C).
        threshold: Foreground scores below it become 0.
        transform: Pixel assignment and, with a segmenter, prompts and masks.
        certain_scores: Foreground scores that are surely background and surely object; needed where
            the transform prompts from the score.
    """

    model: AttendedInference
    centroids: np.ndarray
    threshold: float
    transform: GeneratePseudoLabel
    certain_scores: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """The segmenter follows the model to its device."""
        if self.transform.segmenter is not None:
            self.transform.segmenter.to(next(self.model.parameters()).device)

    @torch.inference_mode()
    def label(self, samples: Sequence[Mapping[str, Any]], embeddings: np.ndarray) -> Iterator[dict]:
        """What the transform says of each image: `gt_seg_map`, `coarse_label`, `label_outcome` ...

        Args:
            samples: Of `PackImage`, of one input size; with a segmenter also `loaded_image`.
            embeddings: Of the images, float32 (B, C).

        Yields:
            A dict for each image; its maps have the size of the image and are made in its turn.
        """
        device = next(self.model.parameters()).device
        images = self.model.data_preprocessor.normalize(stack_images(samples, device))
        features, scores = self.model.score_pixels(images, stack_features(samples, device))
        distances = squared_distances(embeddings, self.centroids)  # (B, K)
        centroids = torch.from_numpy(self.centroids).to(device)
        prompted = self._segmenter_inputs(samples)
        for i, sample in enumerate(samples):
            result = dict(
                features=upsample_features(features[i : i + 1], self.model.upsample)[0],
                foreground_score=scores[i],
                centroids=centroids,
                threshold=self.threshold,
                squared_distances=distances[i],
                ori_shape=tuple(sample['ori_shape']),
            )
            if self.certain_scores is not None:
                result['certain_scores'] = self.certain_scores
            yield self.transform(result | prompted[i])

    def facts(self) -> dict[str, Any]:
        """What decides the label maps besides the model, for the key of an artifact."""
        facts = dict(threshold=self.threshold, transform=self.transform.facts())
        if self.transform.needs_certain_scores:
            facts['certain_scores'] = self.certain_scores
        return facts

    def _segmenter_inputs(self, samples: Sequence[Mapping[str, Any]]) -> list[dict]:
        """What a segmenter needs of each image; nothing without one."""
        if self.transform.segmenter is None:
            return [{} for _ in samples]
        loaded = [sample['loaded_image'].numpy() for sample in samples]
        encoded = self.transform.segmenter.encode(loaded)
        # Masks are as large as the image that was loaded, which may be a bounded one.
        return [
            dict(encoded_image=image, loaded_image=pixels, ori_shape=pixels.shape[:2])
            for image, pixels in zip(encoded, loaded, strict=True)
        ]


def generate_labels(
    directory: str | Path,
    labeller: PixelLabeller,
    batches: ShardedBatches,
    embeddings: np.ndarray,
    inputs: Mapping[str, Any],
    settings: Mapping[str, Any],
    used_ground_truth: tuple[str, ...] = (),
) -> Path:
    """Write the label map of every image of a data set: `<directory>/<relative path>.png`.

    Also writes `outcomes.json`: how often the transform did what. Memory: one batch of feature maps
    and the label maps that wait to be written (see `BackgroundWriter`). Disk: one PNG an image.

    Args:
        directory: Of the output.
        labeller: Of the images.
        batches: Over whole images; its data set is a `LUSSDataset`.
        embeddings: Of the same images in the same order, float32, may be memory-mapped. (N, C).
        inputs: Names to keys: checkpoint, clusters, data.
        settings: What else decides the label maps.
        used_ground_truth: Passed on from the choice of the threshold.

    Returns:
        The directory.

    Raises:
        ValueError: If embeddings and images differ in number.
    """
    if len(embeddings) != len(batches.dataset):
        raise ValueError(f'{len(embeddings)} embeddings for {len(batches.dataset)} images')

    def label(batch: list[dict]) -> Iterator[tuple[dict, np.ndarray, Counter]]:
        rows = embeddings[[sample['index'] for sample in batch]]
        for sample, result in zip(batch, labeller.label(batch, rows), strict=True):
            labels = _at_size(result['gt_seg_map'], tuple(sample['ori_shape']))
            yield sample, labels, count_outcome(result)

    def make(unfinished: Path) -> None:
        finished = FinishedShards(unfinished)
        write_label_maps(finished, batches, 'pixel labels', label)
        summarise = partial(summarise_images, num_clusters=len(labeller.centroids))
        sum_outcomes(finished, len(batches), summarise)

    segmenter = labeller.transform.segmenter
    return produce(
        directory,
        make,
        inputs,
        dict(settings, **labeller.facts()),
        used_ground_truth=used_ground_truth,
        used_sam=segmenter is not None and segmenter.used_sam,
    )


def _at_size(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if labels.shape == size:
        return labels
    return resize_nearest(torch.from_numpy(labels), size).numpy()


def sum_outcomes(
    finished: FinishedShards,
    num_shards: int,
    summarise: Callable[[Counter[str]], Mapping[str, float]] = dict,
) -> None:
    """Add up and log what the shards counted; collective.

    Args:
        finished: With the counts of every shard; its directory gets `outcomes.json`.
        num_shards: Of the data set.
        summarise: Turns the sums into what is written and logged.
    """
    barrier()  # all shards are there
    if not is_main_process():
        return
    total: Counter[str] = Counter()
    for shard in range(num_shards):
        total.update(finished.content(shard))
    total = summarise(total)
    write_outcomes(finished.directory, total)
    shown = ', '.join(f'{name}: {count}' for name, count in sorted(total.items()) if count)
    print_log(f'pixel labels: {shown}', logger='current')


def summarise_images(counts: Counter[str], num_clusters: int) -> dict[str, float]:
    """Replace what was counted for single clusters and foreground shares by a few figures.

    Args:
        counts: Sum of `count_outcome` over the images.
        num_clusters: K.

    Returns:
        The other counts; mean and median share of foreground in per cent; and how many clusters
        have far fewer or far more images than the median cluster (`count_unusual_clusters`).
    """
    per_cent = {
        int(name.removeprefix(PER_MILLE)) / 10: count
        for name, count in counts.items()
        if name.startswith(PER_MILLE)
    }
    few, many = count_unusual_clusters([counts[f'{CLUSTER}{k + 1}'] for k in range(num_clusters)])
    others = {n: c for n, c in counts.items() if not n.startswith((CLUSTER, PER_MILLE))}
    mean = sum(share * count for share, count in per_cent.items()) / sum(per_cent.values())
    return {
        **others,
        MEAN_FOREGROUND: round(mean, 2),
        MEDIAN_FOREGROUND: median_of_counts(per_cent),
        'clusters with few images': few,
        'clusters with many images': many,
    }


def count_outcome(result: Mapping[str, Any]) -> Counter[str]:
    """What happened to one image: its foreground, its cluster, and the fates of its categories.

    Args:
        result: Of `GeneratePseudoLabel`; for the fates see `merging_outcome`.
    """
    foreground = float((result['gt_seg_map'] > 0).mean())
    counts = Counter(images=1)
    counts[EMPTY_IMAGES] += foreground == 0
    counts[FULL_IMAGES] += foreground == 1
    counts[f'{PER_MILLE}{round(1000 * foreground)}'] += 1
    counts[f'{CLUSTER}{result["active_categories"][0]}'] += 1
    counts['images with several active categories'] += len(result['active_categories']) > 1
    for fate, found in result['label_outcome'].items():
        if isinstance(found, bool):
            counts[f'images {fate}'] += found
        else:
            counts[f'categories {fate}'] += len(found)
    return counts
