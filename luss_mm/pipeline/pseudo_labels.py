"""All steps between attention and fine-tuning: features, clusters, threshold, label maps."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from luss_mm.models.pixel_attention_model import PixelAttentionModel
from luss_mm.pipeline.artifact import read_manifest
from luss_mm.pipeline.cluster_features import cluster_features
from luss_mm.pipeline.extract_features import extract_features
from luss_mm.pipeline.foreground_threshold import ThresholdRule, choose_threshold
from luss_mm.pipeline.generate_labels import generate_labels
from luss_mm.pipeline.image_batches import ShardedBatches

FEATURES = 'features'
CLUSTERS = 'clusters'
THRESHOLD = 'threshold'
PSEUDO_LABELS = 'pseudo_labels'


@dataclass(frozen=True)
class PseudoLabelJob:
    """What is clustered and labelled, with which settings.

    Attributes:
        directory: Gets the folders features, clusters, threshold and pseudo_labels.
        model: Backbone and attention.
        model_key: Names the model's weights, for instance `fingerprint_file(checkpoint)`.
        embedding_batches: Training images at clustering size.
        label_batches: Whole training images.
        embedding_transforms: Configs of the transforms of `embedding_batches`; they and not the
            objects say whether features are still those that are asked for.
        label_transforms: The same of `label_batches`, and of the sweep's.
        num_clusters: K.
        threshold_rule: How the foreground threshold is chosen.
        kmeans_iterations: Of each restart.
        kmeans_restarts: Number of restarts.
        seed: Of k-means.
        device: Of the model.
    """

    directory: Path
    model: PixelAttentionModel
    model_key: str
    embedding_batches: ShardedBatches
    label_batches: ShardedBatches
    embedding_transforms: Sequence[Mapping[str, Any]]
    label_transforms: Sequence[Mapping[str, Any]]
    num_clusters: int
    threshold_rule: ThresholdRule
    kmeans_iterations: int = 20
    kmeans_restarts: int = 30
    seed: int = 0
    device: torch.device | str = 'cpu'


def make_pseudo_labels(job: PseudoLabelJob) -> Path:
    """Run whatever is not finished; every step is an artifact of its own.

    Returns:
        The folder of label maps.
    """
    features = extract_features(
        job.directory / FEATURES,
        job.model,
        job.embedding_batches,
        inputs=dict(model=job.model_key, images=job.embedding_batches.dataset.fingerprint()),
        settings=_loading_settings(job.embedding_batches, job.embedding_transforms),
        device=job.device,
    )
    features_key = _key(job.directory / FEATURES)
    clusters = cluster_features(
        job.directory / CLUSTERS,
        features.embeddings,
        job.num_clusters,
        inputs=dict(features=features_key),
        iterations=job.kmeans_iterations,
        restarts=job.kmeans_restarts,
        seed=job.seed,
    )
    choice = choose_threshold(
        job.directory / THRESHOLD,
        job.threshold_rule,
        job.model,
        features.score_counts,
        clusters.centroids,
        inputs=dict(
            model=job.model_key,
            features=features_key,
            clusters=_key(job.directory / CLUSTERS),
            **_sweep_inputs(job),
        ),
        device=job.device,
    )
    return generate_labels(
        job.directory / PSEUDO_LABELS,
        job.model,
        job.label_batches,
        clusters.centroids,
        choice.threshold,
        inputs=dict(
            model=job.model_key,
            clusters=_key(job.directory / CLUSTERS),
            images=job.label_batches.dataset.fingerprint(),
        ),
        settings=_loading_settings(job.label_batches, job.label_transforms),
        device=job.device,
        used_ground_truth=choice.used_ground_truth,
    )


def fingerprint_file(path: str | Path) -> str:
    """SHA-256 of a file's content, read in blocks."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _key(directory: Path) -> str:
    return read_manifest(directory)['key']


def _loading_settings(batches: ShardedBatches, transforms: Sequence[Mapping[str, Any]]) -> dict:
    """Batch and shard size change the last bits of features, the transforms change everything."""
    return dict(transforms=transforms, batch_size=batches.batch_size, shard_size=batches.shard_size)


def _sweep_inputs(job: PseudoLabelJob) -> dict:
    """What the validation sweep looks at besides; nothing for the other rules."""
    batches = job.threshold_rule.sweep_batches
    if batches is None:
        return {}
    return dict(images=batches.dataset.fingerprint(), transforms=job.label_transforms)
