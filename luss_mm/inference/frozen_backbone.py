"""A frozen backbone by itself: how it sees images, how its features score, the plain baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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

from luss_mm.checkpoints.loading import load_backbone
from luss_mm.datasets.image_walk import category_names
from luss_mm.evaluation.plain_baseline import (
    Clustering,
    embed_images,
    length_threshold,
    score_clustering,
    tally_foreground,
)
from luss_mm.evaluation.score_report import scores_in_percent
from luss_mm.functional.clustering_scores import (
    clustering_accuracy,
    contingency,
    normalized_mutual_information,
)
from luss_mm.functional.distance_matching import vote_of_neighbours
from luss_mm.functional.kmeans import fit_kmeans
from luss_mm.models.preprocessors import ViewsPreprocessor
from luss_mm.packaged_weights import checkpoint_file, find_labels_used
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
        settings: Of the recipe.
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
    embeddings = embed_images(extractor, batches, f'images of {folder}').embeddings
    return torch.from_numpy(embeddings), torch.tensor([names.index(name) for name in folders])


def _percent(share: float) -> float:
    return round(100 * float(share), 2)


BASELINE_SETTINGS = (
    *('data_root', 'train_split', 'num_categories', 'validation_dataset'),
    *('kmeans_iterations', 'kmeans_restarts', 'kmeans_initialization'),
)
FIGURES = ('mIoU', 'ImgAcc', 'F-beta')
BASELINE_LABELS = 'validation masks: matching and scoring'


def read_plain_baseline(settings: Settings, checkpoint: str | None = None) -> FrozenBackbone:
    """Take from a recipe what the plain baseline needs; see `read_frozen_backbone`."""
    return read_frozen_backbone(settings, checkpoint, BASELINE_SETTINGS)


def score_plain_baseline(baseline: FrozenBackbone, seeds: int) -> dict[str, Any]:
    """Run it with several seeds of k-means.

    Args:
        baseline: Of `read_plain_baseline`.
        seeds: How many; the first is 0.

    Returns:
        JSON-like: mean and range of each figure in percent, all figures of each seed, and what
        they were made from.
    """
    settings = baseline.settings
    with DefaultScope.overwrite_default_scope('mmseg'):
        extractor = baseline.extractor()
        prefix = dict(img_path=settings['train_split'])
        training = baseline.batches(
            dict(type='LUSSDataset', data_root=settings['data_root'], data_prefix=prefix)
        )
        validation = baseline.batches(settings['validation_dataset'])
        trained_on = embed_images(extractor, training, 'training images')
        scored = embed_images(extractor, validation, 'validation images')
    threshold = length_threshold(trained_on.lengths)
    num_categories = len(validation.dataset.metainfo['classes']) - 1
    labels = build_label_loader(settings['validation_dataset']['pipeline'])
    tallies = list(tally_foreground(scored.lengths, validation, threshold, num_categories, labels))
    clustering = Clustering(
        settings['num_categories'],
        settings['kmeans_iterations'],
        settings['kmeans_restarts'],
        settings['kmeans_initialization'],
    )
    per_seed = [
        scores_in_percent(
            score_clustering(
                trained_on.embeddings, scored.embeddings, tallies, clustering, num_categories, seed
            )
        )
        for seed in range(seeds)
    ]
    return dict(
        {name: _summary([figures[name] for figures in per_seed]) for name in FIGURES},
        seeds=per_seed,
        length_threshold=threshold,
        num_clusters=clustering.num_clusters,
        kmeans=asdict(clustering),
        training_images=len(trained_on.lengths),
        validation_images=len(scored.lengths),
        features=dict(backbone=settings['backbone'], **extractor.facts()),
        ground_truth_use=BASELINE_LABELS,
        **baseline.facts(),
    )


def _summary(values: list[float]) -> dict[str, float]:
    return dict(mean=round(float(np.mean(values)), 2), min=min(values), max=max(values))
