"""A frozen backbone by itself: how it sees images, how its features score, the plain baseline."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, MODELS
from torch import Tensor
from torch.nn import functional as F

from luss_mm.checkpoints.loading import load_backbone
from luss_mm.datasets.image_walk import category_names
from luss_mm.datasets.transforms import LoadLabelMap
from luss_mm.evaluation.cluster_matching import MatchingByRule
from luss_mm.evaluation.score_report import scores_in_percent
from luss_mm.evaluation.segmentation_counts import MatchedScores, SegmentationCounts
from luss_mm.functional.clustering_scores import (
    clustering_accuracy,
    contingency,
    normalized_mutual_information,
)
from luss_mm.functional.distance_matching import vote_of_neighbours
from luss_mm.functional.image_tally import ImageTally, tally_image
from luss_mm.functional.kmeans import assign_to_centroids, fit_kmeans
from luss_mm.functional.pixel_assignment import resize_score
from luss_mm.functional.score_histograms import otsu_threshold
from luss_mm.functional.scores import boundary_radius
from luss_mm.models.preprocessors import ViewsPreprocessor
from luss_mm.packaged_weights import checkpoint_file, find_labels_used
from luss_mm.pipeline.clusters import KMeans
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.pipeline.reference_features import PixelFeatures
from luss_mm.recipes.dataset_facts import build_label_loader
from luss_mm.recipes.settings import Settings, SettingsError
from luss_mm.work_dir.artifact import fingerprint_file
from luss_mm.work_dir.manifest import is_finished, read_manifest

RANDOM = 'random'
WANTED = (
    *('backbone', 'in_index', 'loading', 'resizing'),
    *('label_batch_size', 'shard_size', 'num_workers', 'seed'),
)


@dataclass(frozen=True)
class FrozenBackbone:
    """What the features of a recipe's backbone are made from.

    Attributes:
        settings: Resolved settings of `WANTED`, others that were asked for, and `image_mean` and
            `image_std` if the recipe has them.
        checkpoint: Weights `backbone.*`, `package:name`, or 'random'.
    """

    settings: Mapping[str, Any]
    checkpoint: str

    def batches(self, dataset: Mapping[str, Any]) -> ShardedBatches:
        """Whole images at the recipe's size, loaded as for its label maps."""
        resizing = {  # of a run, they have been JSON, where mmcv's tuples are lists
            key: tuple(value) if isinstance(value, list) else value
            for key, value in self.settings['resizing'].items()
        }
        pipeline = [self.settings['loading'], resizing, dict(type='PackImage')]
        sizes = (self.settings[key] for key in ('label_batch_size', 'shard_size', 'num_workers'))
        return ShardedBatches(DATASETS.build(dict(dataset, pipeline=pipeline)), *sizes)

    def extractor(self) -> PixelFeatures:
        """The network. Random weights are drawn from the recipe's seed.

        Raises:
            CheckpointError: If the weights cannot be used.
        """
        torch.manual_seed(self.settings['seed'])
        backbone = MODELS.build(self.settings['backbone'])
        if self.checkpoint == RANDOM:
            _initialise(backbone)
        else:
            load_backbone(backbone, self.checkpoint)
        names = {'mean': 'image_mean', 'std': 'image_std'}
        given = {k: self.settings[name] for k, name in names.items() if name in self.settings}
        preprocessor = ViewsPreprocessor(**given)
        device = get_device()
        return PixelFeatures(
            backbone.to(device), preprocessor.to(device), self.settings['in_index'], upsample=1
        )

    def facts(self) -> dict[str, Any]:
        """JSON-like: network, weights, the labels that these have seen, and how images are read."""
        settings = self.settings
        is_file = _is_file(self.checkpoint)
        return dict(
            images=dict(loading=settings['loading'], resizing=settings['resizing']),
            weights=self.checkpoint,
            weights_sha256=fingerprint_file(self.checkpoint) if is_file else None,
            labels_of_weights=labels_of_weights(self.checkpoint),
        )


def read_frozen_backbone(
    settings: Settings, checkpoint: str | None = None, also: Sequence[str] = ()
) -> FrozenBackbone:
    """Take from a recipe what the features of its backbone need.

    Args:
        settings: Settings of the recipe.
        checkpoint: Instead of the recipe's own setting of this name.
        also: Further settings that are needed.

    Raises:
        SettingsError: If the recipe lacks a setting or names no weights.
        FileNotFoundError: If there are no such weights.
    """
    wanted = (*WANTED, *also)
    if missing := [name for name in wanted if settings.values.get(name) is None]:
        raise SettingsError(
            f'the recipe sets no {", ".join(missing)}: name an unsupervised recipe with masks'
        )
    names = [name for name in (*wanted, 'image_mean', 'image_std') if name in settings.values]
    resolved = {name: settings.resolve(f'${{{name}}}', name) for name in names}
    checkpoint = checkpoint or settings.resolve(settings.values.get('checkpoint'), 'checkpoint')
    if checkpoint is None:
        raise SettingsError(
            f"the recipe sets no checkpoint: name weights with --checkpoint FILE, or '{RANDOM}'"
        )
    if _is_file(checkpoint) and not checkpoint_file(checkpoint).is_file():
        raise FileNotFoundError(f'{checkpoint}: no such checkpoint')
    return FrozenBackbone(resolved, checkpoint)


def labels_of_weights(checkpoint: str | None) -> list[str]:
    """What labels the weights and those that they started from have seen, a line for each use.

    Args:
        checkpoint: Weights of a finished stage, `package:name`, 'random' or None for random ones.
            Other files do not say: the list then says so.
    """
    if checkpoint in (None, RANDOM):
        return []
    if labels := find_labels_used(checkpoint):
        return [labels]
    stage = Path(checkpoint).parent
    if not is_finished(stage):
        return [f'{checkpoint}: not known']
    manifest = read_manifest(stage)
    start = manifest['settings'].get('load_from')
    before = labels_of_weights(start and start.replace('<work_dir>', str(stage.parent)))
    return [*manifest['used_ground_truth'], *before]


def _initialise(backbone: BaseModule) -> None:
    """Random weights as a training starts from, without mmengine's three lines a parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        backbone.init_weights()
    finally:
        logger.setLevel(level)


def _is_file(checkpoint: str) -> bool:
    return checkpoint != RANDOM and '://' not in checkpoint


NEIGHBOURS = 20
SCORES_LABELS = 'category folders of the images: these figures'
HELD_OUT_EVERY = 5


def score_features(
    backbone: FrozenBackbone,
    references: str | Path,
    queries: str | Path | None = None,
    neighbours: int = NEIGHBOURS,
) -> dict[str, Any]:
    """k-NN accuracy and NMI of mean feature vectors. Looks at category folders.

    An image's category is the vote of its most similar references with weights exp(cos / .07). NMI
    and cluster accuracy are those of k-means on the queries, with as many clusters as they have
    categories (10 starts of k-means++, 50 iterations).

    Args:
        backbone: The network and how it sees images.
        references: Folder of category folders.
        queries: Another such folder. None takes every fifth image of the references.
        neighbours: How many references vote.

    Returns:
        JSON-like; knn, nmi and accuracy in percent.

    Raises:
        ValueError: If the folders have no categories, or the queries others than the references.

    Source: Wu et al. 2018, Unsupervised Feature Learning via Non-Parametric Instance
    Discrimination: weighted k-NN with temperature .07.
    """
    names = category_names([Path(references)])
    if not names:
        raise ValueError(f'{references}: no category folders with images, which these figures need')
    with DefaultScope.overwrite_default_scope('mmseg'):
        extractor = backbone.extractor()
        known, of_known = _embed(backbone, extractor, references, names)
        if queries is None:
            held_out = torch.arange(len(known)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
            asked, of_asked = known[held_out], of_known[held_out]
            known, of_known = known[~held_out], of_known[~held_out]
        else:
            asked, of_asked = _embed(backbone, extractor, queries, names)
    found = vote_of_neighbours(asked[:, :, None, None], known, of_known, neighbours).flatten()
    present, categories = np.unique(of_asked, return_inverse=True)
    fit = fit_kmeans(asked.numpy(), len(present), 50, 10, initialization='k-means++')
    counts = contingency(fit.assignment, categories, len(present), len(present))
    return dict(
        knn=_percent((found == of_asked).float().mean()),
        nmi=_percent(normalized_mutual_information(counts)),
        accuracy=_percent(clustering_accuracy(counts)),
        references=len(known),
        queries=len(asked),
        categories=len(names),
        neighbours=neighbours,
        ground_truth_use=SCORES_LABELS,
        **backbone.facts(),
    )


def _embed(
    backbone: FrozenBackbone, extractor: PixelFeatures, folder: str | Path, names: list[str]
) -> tuple[Tensor, Tensor]:
    """Embeddings (N, C) of a folder's images and the categories (N,) whose folders they lie in."""
    prefix = dict(img_path=str(Path(folder).absolute()))
    batches = backbone.batches(dict(type='LUSSDataset', data_prefix=prefix))
    paths = map(batches.dataset.relative_path, range(len(batches.dataset)))
    folders = [Path(path).parts[0] for path in paths]
    if unknown := sorted(set(folders) - set(names)):
        raise ValueError(
            f'{folder}: {unknown[0]} is none of the {len(names)} category folders of the references'
        )
    embeddings, _ = embed_images(extractor, batches, f'images of {folder}')
    return torch.from_numpy(embeddings), torch.tensor([names.index(name) for name in folders])


def _percent(share: float) -> float:
    return round(100 * float(share), 2)


def embed_images(
    extractor: PixelFeatures, batches: ShardedBatches, title: str
) -> tuple[np.ndarray, list[Tensor]]:
    """Mean feature vectors of all images and the lengths of their features.

    Memory: 4 bytes a cell of the feature maps and 4 C an image.

    Args:
        extractor: The backbone, with `upsample` 1.
        batches: Over whole images.
        title: For the progress lines.

    Returns:
        Means at length 1, float32 (N, C), and the length of every feature vector of each image,
        float32, N of shape (h, w).
    """
    found: list[tuple[np.ndarray, Tensor] | None] = [None] * len(batches.dataset)
    for _, shard in batches.iterate(set(), title):
        for samples in shard:
            features = extractor.extract(samples).float()  # (B, C, h, w)
            means = F.normalize(features.mean(dim=(2, 3)), dim=1).cpu().numpy()  # (B, C)
            norms = features.norm(dim=1).cpu()  # (B, h, w)
            for sample, *of_image in zip(samples, means, norms, strict=True):
                found[sample['index']] = of_image
    embeddings, lengths = zip(*found, strict=True)
    return np.stack(embeddings), list(lengths)


# ---- The plain baseline, what anyone would try first: k-means on frozen features. All of an image
# has the category of its cluster, and its foreground is where the feature vector is long. A method
# is worth something if it scores above this with the same weights and the same pixels.

BASELINE_SETTINGS = (
    *('data_root', 'train_split', 'num_categories', 'validation_dataset'),
    *('kmeans_iterations', 'kmeans_restarts', 'kmeans_initialization'),
)
FIGURES = ('mIoU', 'ImgAcc', 'F-beta')
BASELINE_LABELS = 'validation masks: matching and scoring'
LENGTH_BINS = 512
BOUNDARY_RATIO = 0.03  # of the image diagonal, as ImageNet-S has it


def read_plain_baseline(settings: Settings, checkpoint: str | None = None) -> FrozenBackbone:
    """Take from a recipe what the plain baseline needs; see `read_frozen_backbone`."""
    return read_frozen_backbone(settings, checkpoint, BASELINE_SETTINGS)


def score_plain_baseline(baseline: FrozenBackbone, seeds: int) -> dict[str, Any]:
    """Run it with several seeds of k-means.

    Args:
        baseline: Baseline from `read_plain_baseline`.
        seeds: How many; the first is 0.

    Returns:
        JSON-like: mean and range of each figure in percent, all figures of each seed, and what
        they were made from.

    Raises:
        ValueError: If a mask cannot be read or has an id above the number of categories.
    """
    settings = baseline.settings
    with DefaultScope.overwrite_default_scope('mmseg'):
        extractor = baseline.extractor()
        prefix = dict(img_path=settings['train_split'])
        training = baseline.batches(
            dict(type='LUSSDataset', data_root=settings['data_root'], data_prefix=prefix)
        )
        validation = baseline.batches(settings['validation_dataset'])
        trained_on, lengths = embed_images(extractor, training, 'training images')
        scored, scored_lengths = embed_images(extractor, validation, 'validation images')
    values = torch.cat([length.flatten() for length in lengths]).numpy()
    bounds = float(values.min()), float(values.max())
    threshold = otsu_threshold(np.histogram(values, LENGTH_BINS, bounds)[0], *bounds)
    tallies = list(_tally_foreground(scored_lengths, validation, threshold, settings))
    names = ('kmeans_iterations', 'kmeans_restarts', 'kmeans_initialization')
    kmeans = KMeans(*(settings[name] for name in names))
    num_clusters = settings['num_categories']
    matching = MatchingByRule('image_hungarian', num_clusters, _num_categories(validation))

    def score(seed: int) -> MatchedScores:
        fit = fit_kmeans(trained_on, num_clusters, **asdict(replace(kmeans, seed=seed)))
        counts = SegmentationCounts(matching.layout)
        clusters, _ = assign_to_centroids(scored, fit.centroids)  # (M,)
        for tally, cluster in zip(tallies, clusters.tolist(), strict=True):
            counts.add(matching.entries(tally.renamed(torch.tensor([0, cluster + 1]))))
        return matching.scores(counts)

    per_seed = [scores_in_percent(score(seed)) for seed in range(seeds)]
    return dict(
        {name: _summary([figures[name] for figures in per_seed]) for name in FIGURES},
        seeds=per_seed,
        length_threshold=threshold,
        num_clusters=num_clusters,
        kmeans=kmeans.settings,
        training_images=len(trained_on),
        validation_images=len(scored),
        features=dict(backbone=settings['backbone'], **extractor.facts()),
        ground_truth_use=BASELINE_LABELS,
        **baseline.facts(),
    )


def _num_categories(batches: ShardedBatches) -> int:
    return len(batches.dataset.metainfo['classes']) - 1


def _tally_foreground(
    lengths: list[Tensor], batches: ShardedBatches, threshold: float, settings: Mapping[str, Any]
) -> Iterator[ImageTally]:
    """Count every image with its foreground as cluster 1. Looks at the masks."""
    dataset = batches.dataset
    labels = build_label_loader(settings['validation_dataset']['pipeline']) or LoadLabelMap()
    for index, length in enumerate(lengths):
        path = dataset.get_data_info(index)['seg_map_path']
        truth = torch.from_numpy(labels.read(path))  # (H, W)
        foreground = resize_score(length[None], tuple(truth.shape))[0] >= threshold
        radius = boundary_radius(*truth.shape, BOUNDARY_RATIO)
        ids = 1, _num_categories(batches), dataset.ignore_index
        try:
            yield tally_image(foreground.int(), truth, *ids, radius)
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error


def _summary(values: list[float]) -> dict[str, float]:
    return dict(mean=round(float(np.mean(values)), 2), min=min(values), max=max(values))
