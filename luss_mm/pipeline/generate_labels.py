"""Clusters and attention to label maps: which scores count as object, and the maps themselves."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, barrier, is_main_process
from mmengine.logging import print_log

from luss_mm.datasets.transforms import GeneratePseudoLabel
from luss_mm.functional.kmeans import squared_distances
from luss_mm.functional.label_health import count_unusual_clusters, median_of_counts
from luss_mm.functional.pixel_assignment import label_by_centroid, resize_nearest, resize_score
from luss_mm.functional.pixel_attention import upsample_features
from luss_mm.functional.score_histograms import certain_scores, otsu_threshold
from luss_mm.functional.thresholds import (
    SweepCounts,
    best_threshold,
    merge_sweep_counts,
    sweep_counts,
)
from luss_mm.models.attended_backbone import AttendedInference
from luss_mm.pipeline.image_batches import (
    ShardedBatches,
    stack_features,
    stack_images,
    write_label_maps,
)
from luss_mm.work_dir.artifact import FinishedShards, produce
from luss_mm.work_dir.run_folder import (
    EMPTY_IMAGES,
    FULL_IMAGES,
    MEAN_FOREGROUND,
    MEDIAN_FOREGROUND,
    ThresholdChoice,
    ground_truth_of,
    load_threshold,
    write_outcomes,
    write_threshold,
)
from luss_mm.work_dir.stop_request import stop_if_asked

# Counted image by image, and summed up before they are written: 'images of cluster 3': 17 ...
CLUSTER, PER_MILLE = 'images of cluster ', 'images with foreground per mille '
CERTAIN_QUANTILES = (0.4, 0.9)  # of the training scores: surely background, surely object


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
            samples: Samples from `PackImage`, of one input size; with a segmenter also
                `loaded_image`.
            embeddings: Embeddings of the images, float32 (B, C).

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
        directory: Directory of the output.
        labeller: Labeller of the images.
        batches: Over whole images; its data set is a `LUSSDataset`.
        embeddings: Embeddings of the same images in the same order, float32, may be memory-mapped.
            (N, C).
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
        num_shards: Number of shards of the data set.
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
        result: Result from `GeneratePseudoLabel`; for the fates see `merging_outcome`.
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


@dataclass(frozen=True)
class ThresholdRule:
    """How the threshold is chosen.

    Attributes:
        rule: 'otsu', a number in [0, 1], or 'validation_sweep'.
        sweep_batches: Whole validation images with masks; the sweep alone reads them.
        certain_quantiles: Quantiles of the training scores, see `certain_scores`.
    """

    rule: str | float
    sweep_batches: ShardedBatches | None = None
    certain_quantiles: tuple[float, float] = CERTAIN_QUANTILES

    def __post_init__(self) -> None:
        """Refuse what is no rule."""
        is_number = isinstance(self.rule, (int, float)) and 0 <= self.rule <= 1
        if not is_number and self.rule not in ('otsu', 'validation_sweep'):
            raise ValueError(
                "foreground_threshold: 'otsu', 'validation_sweep' or a number in [0, 1], not "
                f'{self.rule!r}'
            )
        quantiles = tuple(self.certain_quantiles)
        if len(quantiles) != 2 or not 0 <= quantiles[0] <= quantiles[1] <= 1:
            raise ValueError(
                f'certain_quantiles: two rising shares in [0, 1], not {self.certain_quantiles!r}'
            )


def choose_threshold(
    directory: str | Path,
    rule: ThresholdRule,
    model: AttendedInference,
    score_counts: np.ndarray,
    centroids: np.ndarray,
    inputs: Mapping[str, Any],
    device: torch.device | str = 'cpu',
) -> ThresholdChoice:
    """Choose the foreground threshold and write it down.

    Args:
        directory: Directory of the output.
        rule: How to choose.
        model: Used by the sweep alone.
        score_counts: Histogram of the training foreground scores over [0, 1]. int64 (B,).
        centroids: Used by the sweep alone. float32 (K, C).
        inputs: Names to keys.
        device: The model's.
    """
    used = ground_truth_of(rule.rule)

    def make(unfinished: Path) -> None:
        mean_iou = None
        if rule.rule == 'validation_sweep':
            threshold, scores = best_threshold(_sweep(rule.sweep_batches, model, centroids, device))
            mean_iou = tuple(scores.tolist())
        elif rule.rule == 'otsu':
            threshold = otsu_threshold(score_counts)
        else:
            threshold = float(rule.rule)
        certain = certain_scores(score_counts, rule.certain_quantiles, threshold)
        if is_main_process():
            write_threshold(unfinished, ThresholdChoice(rule.rule, threshold, certain, mean_iou))

    settings = dict(rule=rule.rule, certain_quantiles=list(rule.certain_quantiles))
    choice = load_threshold(produce(directory, make, inputs, settings, used_ground_truth=used))
    labels = used[0] if used else 'no labels looked at'
    print_log(
        f'foreground threshold {choice.threshold:.3f} ({rule.rule}; {labels})', logger='current'
    )
    return choice


@torch.inference_mode()
def _sweep(
    batches: ShardedBatches,
    model: AttendedInference,
    centroids: np.ndarray,
    device: torch.device | str,
) -> SweepCounts:
    """Counts of all thresholds over all validation images, in one pass. Looks at the masks."""
    model.eval().to(device)
    dataset = batches.dataset
    num_categories = len(dataset.metainfo['classes']) - 1
    centroids_on_device = torch.from_numpy(centroids).to(device)
    shards = []
    for _, shard_batches in batches.iterate(set(), 'threshold sweep'):
        counts = []
        for batch in shard_batches:
            images = model.data_preprocessor.normalize(stack_images(batch, device))
            features, scores = model.score_pixels(images)
            for i, sample in enumerate(batch):
                size = tuple(sample['ori_shape'])
                labels = label_by_centroid(
                    features[i : i + 1], centroids_on_device, size, model.upsample
                )[0]
                score = resize_score(scores[i : i + 1], size)[0]
                counts.append(
                    sweep_counts(
                        score.cpu().numpy(),
                        labels.cpu().numpy(),
                        _mask_of(sample),
                        len(centroids),
                        num_categories,
                        ignore_index=dataset.ignore_index,
                    )
                )
        shards.append(merge_sweep_counts(counts))
        stop_if_asked('the threshold sweep starts again, its clusters are kept')
    return merge_sweep_counts([part for rank in all_gather_object(shards) for part in rank])


def _mask_of(sample: Mapping[str, Any]) -> np.ndarray:
    if 'gt_seg_map' not in sample:
        raise ValueError('the images of the validation sweep need LoadLabelMap before PackImage')
    return np.asarray(sample['gt_seg_map'])
