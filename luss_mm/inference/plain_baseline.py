"""The plain baseline of a recipe: its backbone, weights, pixels and masks, without any training."""

from dataclasses import asdict
from typing import Any

import numpy as np
from mmengine.registry import DefaultScope

from luss_mm.evaluation.plain_baseline import (
    Clustering,
    embed_images,
    length_threshold,
    score_clustering,
    tally_foreground,
)
from luss_mm.evaluation.score_report import scores_in_percent
from luss_mm.inference.frozen_backbone import FrozenBackbone, read_frozen_backbone
from luss_mm.recipes.dataset_facts import build_label_loader
from luss_mm.recipes.settings import Settings

WANTED = (
    *('data_root', 'train_split', 'num_categories', 'validation_dataset'),
    *('kmeans_iterations', 'kmeans_restarts', 'kmeans_initialization'),
)
FIGURES = ('mIoU', 'ImgAcc', 'F-beta')
GROUND_TRUTH = 'validation masks: matching and scoring'


def read_plain_baseline(settings: Settings, checkpoint: str | None = None) -> FrozenBackbone:
    """Take from a recipe what the plain baseline needs; see `read_frozen_backbone`."""
    return read_frozen_backbone(settings, checkpoint, WANTED)


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
        ground_truth_use=GROUND_TRUTH,
        **baseline.facts(),
    )


def _summary(values: list[float]) -> dict[str, float]:
    return dict(mean=round(float(np.mean(values)), 2), min=min(values), max=max(values))
