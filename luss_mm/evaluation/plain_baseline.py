"""What anyone would try first: k-means on frozen features, foreground where features are long.

An image's embedding is its mean feature vector, all of the image has the category of its cluster,
and its foreground is where the feature vector is long. A method is worth something if it scores
above this with the same weights and the same pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from luss_mm.datasets.transforms import LoadLabelMap
from luss_mm.evaluation.cluster_matching import MatchingByRule
from luss_mm.evaluation.segmentation_counts import MatchedScores, SegmentationCounts
from luss_mm.functional.image_tally import ImageTally, tally_image
from luss_mm.functional.kmeans import assign_to_centroids, fit_kmeans
from luss_mm.functional.pixel_assignment import resize_score
from luss_mm.functional.score_histograms import otsu_threshold
from luss_mm.functional.scores import boundary_radius
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.pipeline.reference_features import PixelFeatures

LENGTH_BINS = 512
BOUNDARY_RATIO = 0.03  # of the image diagonal, as ImageNet-S has it


@dataclass(frozen=True)
class FrozenFeatures:
    """What the plain baseline needs of the images of a data set, in its order.

    Attributes:
        embeddings: Mean feature vector of each image at length 1, float32. Shape (N, C).
        lengths: Length of every feature vector of each image, float32. N of shape (h, w).
    """

    embeddings: np.ndarray
    lengths: list[Tensor]


@dataclass(frozen=True)
class Clustering:
    """How k-means is run.

    Attributes:
        num_clusters: K.
        iterations: Of each restart.
        restarts: Of which the best is kept.
        initialization: Of each restart, see `fit_kmeans`.
    """

    num_clusters: int
    iterations: int = 20
    restarts: int = 30
    initialization: str = 'random'


def embed_images(extractor: PixelFeatures, batches: ShardedBatches, title: str) -> FrozenFeatures:
    """Features of all images. Memory: 4 bytes a cell of the feature maps and 4 C an image.

    Args:
        extractor: The backbone, with `upsample` 1.
        batches: Over whole images.
        title: For the progress lines.
    """
    embeddings: list[np.ndarray | None] = [None] * len(batches.dataset)
    lengths: list[Tensor | None] = [None] * len(batches.dataset)
    for _, shard in batches.iterate(set(), title):
        for samples in shard:
            features = extractor.extract(samples).float()  # (B, C, h, w)
            means = F.normalize(features.mean(dim=(2, 3)), dim=1).cpu().numpy()  # (B, C)
            norms = features.norm(dim=1).cpu()  # (B, h, w)
            for sample, mean, norm in zip(samples, means, norms, strict=True):
                embeddings[sample['index']], lengths[sample['index']] = mean, norm
    return FrozenFeatures(np.stack(embeddings), lengths)


def length_threshold(lengths: list[Tensor]) -> float:
    """Otsu's threshold of the lengths of all images, between the shortest and the longest.

    Args:
        lengths: Of each image. Shape (h, w).

    Raises:
        ValueError: If all are equal.
    """
    values = torch.cat([length.flatten() for length in lengths]).numpy()
    bounds = float(values.min()), float(values.max())
    counts, _ = np.histogram(values, LENGTH_BINS, bounds)
    return otsu_threshold(counts, *bounds)


def tally_foreground(
    lengths: list[Tensor],
    batches: ShardedBatches,
    threshold: float,
    num_categories: int,
    labels: LoadLabelMap | None = None,
) -> Iterator[ImageTally]:
    """Count every image with its foreground as cluster 1. Looks at the masks.

    Args:
        lengths: Of each image of the data set. Shape (h, w).
        batches: Over these images; the data set has masks.
        threshold: A pixel is foreground iff its length, resized to the image, is at least this.
        num_categories: C.
        labels: Reads the masks; None for the ImageNet-S coding.

    Raises:
        ValueError: If a mask cannot be read or has an id above C.
    """
    dataset, labels = batches.dataset, labels or LoadLabelMap()
    for index, length in enumerate(lengths):
        path = dataset.get_data_info(index)['seg_map_path']
        truth = torch.from_numpy(labels.read(path))  # (H, W)
        foreground = resize_score(length[None], tuple(truth.shape))[0] >= threshold
        radius = boundary_radius(*truth.shape, BOUNDARY_RATIO)
        try:
            yield tally_image(
                foreground.int(), truth, 1, num_categories, dataset.ignore_index, radius
            )
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error


def score_clustering(
    training: np.ndarray,
    validation: np.ndarray,
    tallies: list[ImageTally],
    clustering: Clustering,
    num_categories: int,
    seed: int,
) -> MatchedScores:
    """Cluster the training images, give every validation image its nearest cluster, and score.

    Args:
        training: Embeddings, float32. Shape (N, C).
        validation: Embeddings of the scored images, float32. Shape (M, C).
        tallies: Of `tally_foreground`, one for each scored image.
        clustering: How k-means is run.
        num_categories: Categories of the masks.
        seed: Of k-means.
    """
    fit = fit_kmeans(
        training,
        clustering.num_clusters,
        clustering.iterations,
        clustering.restarts,
        seed,
        initialization=clustering.initialization,
    )
    clusters, _ = assign_to_centroids(validation, fit.centroids)  # (M,)
    matching = MatchingByRule('image_hungarian', clustering.num_clusters, num_categories)
    counts = SegmentationCounts(matching.layout)
    for tally, cluster in zip(tallies, clusters.tolist(), strict=True):
        counts.add(matching.entries(tally.renamed(torch.tensor([0, cluster + 1]))))
    return matching.scores(counts)
