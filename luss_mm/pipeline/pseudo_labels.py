"""From clusters to label maps: foreground threshold, pixel labels, prompts and masks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from luss_mm.datasets.transforms import GeneratePseudoLabel
from luss_mm.models.attended_inference import AttendedInference
from luss_mm.pipeline.cluster_features import load_clusters
from luss_mm.pipeline.extract_features import load_features
from luss_mm.pipeline.foreground_threshold import ThresholdRule, choose_threshold
from luss_mm.pipeline.generate_labels import PixelLabeller, generate_labels
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.work_dir.artifact import read_manifest

THRESHOLD = 'threshold'
PSEUDO_LABELS = 'pseudo_labels'


@dataclass(frozen=True)
class PseudoLabelJob:
    """What is labelled, with which clusters and settings.

    Attributes:
        directory: Gets the folders threshold and pseudo_labels.
        features: Finished features of the training images.
        clusters: Finished clusters of these features.
        model: Backbone and attention that made the features.
        model_key: Names the model's weights.
        label_batches: Whole training images.
        loading: What decides how they are loaded; this and not the objects says whether label maps
            are still those that are asked for.
        transform: Pixel assignment, prompts and masks.
        threshold_rule: How the foreground threshold is chosen.
        device: Of the model.
    """

    directory: Path
    features: Path
    clusters: Path
    model: AttendedInference
    model_key: str
    label_batches: ShardedBatches
    loading: Mapping[str, Any]
    transform: GeneratePseudoLabel
    threshold_rule: ThresholdRule
    device: torch.device | str = 'cpu'


def make_pseudo_labels(job: PseudoLabelJob) -> Path:
    """Run whatever is not finished; every step is an artifact of its own.

    Returns:
        The folder of label maps.
    """
    features, clusters = load_features(job.features), load_clusters(job.clusters)
    made_from = dict(
        model=job.model_key,
        features=read_manifest(job.features)['key'],
        clusters=read_manifest(job.clusters)['key'],
    )
    choice = choose_threshold(
        job.directory / THRESHOLD,
        job.threshold_rule,
        job.model,
        features.score_counts,
        clusters.centroids,
        inputs=made_from | _sweep_inputs(job),
        device=job.device,
    )
    return generate_labels(
        job.directory / PSEUDO_LABELS,
        PixelLabeller(
            job.model, clusters.centroids, choice.threshold, job.transform, choice.certain_scores
        ),
        job.label_batches,
        features.embeddings,
        inputs=made_from | dict(images=job.label_batches.dataset.fingerprint()),
        settings=job.loading,
        used_ground_truth=choice.used_ground_truth,
    )


def _sweep_inputs(job: PseudoLabelJob) -> dict[str, Any]:
    """What the validation sweep looks at besides; nothing for the other rules."""
    batches = job.threshold_rule.sweep_batches
    if batches is None:
        return {}
    return dict(images=batches.dataset.fingerprint(), transforms=job.loading['transforms'])
