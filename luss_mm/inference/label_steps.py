"""The steps of a finished run that change label maps, each applied to any split."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmseg.registry import DATASETS, TRANSFORMS
from torch import Tensor, nn

from luss_mm.functional.clustering_scores import clustering_accuracy, contingency
from luss_mm.functional.kmeans import assign_to_centroids
from luss_mm.functional.score_histograms import certain_scores, otsu_threshold
from luss_mm.inference.feature_source import FeatureSource
from luss_mm.inference.infer_folder import LABELS, FolderInference
from luss_mm.inference.inferencer import LUSSInferencer
from luss_mm.inference.steps import ClustersStep, DenoisedStep, LabelsStep
from luss_mm.pipeline.generate_labels import CERTAIN_QUANTILES
from luss_mm.pipeline.step import steps_of
from luss_mm.recipes.config_file import ConfigError, read_own_config
from luss_mm.work_dir.run_folder import (
    LAST_STAGE,
    RunFolder,
    load_clusters,
    load_features,
    load_threshold,
)


@dataclass(frozen=True)
class LabelStep:
    """What pixels would be labelled with if the run had ended after this step.

    Attributes:
        name: k-means, DFF, CSD or SPO.
        source: Network and training images.
        features: Finished features of the training images.
        clusters: Finished clusters.
        label_dataset: Config of the whole training images.
        label_transform: Config of `GeneratePseudoLabel`.
        threshold: Threshold of the foreground score.
        ignore_index: Mask id of pixels that count nowhere.
        certain_quantiles: Quantiles of the foreground scores of the step's training images.
    """

    name: str
    source: FeatureSource
    features: Path
    clusters: Path
    label_dataset: Mapping[str, Any]
    label_transform: Mapping[str, Any]
    threshold: float
    ignore_index: int
    certain_quantiles: tuple[float, float] = CERTAIN_QUANTILES

    @property
    def num_clusters(self) -> int:
        """K."""
        return len(load_clusters(self.clusters).centroids)

    @property
    def used_sam(self) -> bool:
        """Whether SAM, which human masks trained, makes these labels."""
        segmenter = TRANSFORMS.build(dict(self.label_transform)).segmenter
        return segmenter is not None and segmenter.used_sam

    def masks_of(self, split: str) -> Path:
        """Folder with the masks of a split."""
        return Path(self.label_dataset['data_root'], f'{split}-segmentation')

    def cluster_accuracy(self, split: str, out: Path) -> float | None:
        """How well the nearest centroids of a split's images follow its category folders.

        Looks at the folders, which no stage of the run does.

        Args:
            split: Folder below the data root.
            out: As of `label_split`, which was called before.

        Returns:
            Share of images in the category that their cluster is matched to (one to one, on these
            images), in [0, 1]; None if all images lie in one folder.
        """
        images = dict(data_prefix=dict(img_path=split), pipeline=[])
        dataset = DATASETS.build(dict(self.source.dataset, **images))
        folders = [dataset.relative_path(i).rpartition('/')[0] for i in range(len(dataset))]
        names, categories = np.unique(folders, return_inverse=True)
        if len(names) < 2:
            return None
        centroids = load_clusters(self.clusters).centroids
        nearest, _ = assign_to_centroids(load_features(out / 'features').embeddings, centroids)
        return clustering_accuracy(contingency(nearest, categories, len(centroids), len(names)))

    def categories_of_split(self, split: str, out: Path) -> Path:
        """Categories that pixels would have if all of them were foreground.

        They are those of the nearest centroids. (What a segmenter changes is in its label maps.)

        Args:
            split: Folder below the data root.
            out: As of `label_split`; gets the folder categories.

        Returns:
            The folder with `<relative path>.png`.
        """
        coarse = dict(self.label_transform, segmenter=None)
        all_foreground = replace(self, threshold=-math.inf, label_transform=coarse)
        return all_foreground.label_split(split, out, 'categories')

    def label_split(self, split: str, out: Path, name: str = 'labels') -> Path:
        """Label the images of a split of the run's data set.

        Args:
            split: Folder below the data root.
            out: Gets the folders features and `name`, which later calls take up.
            name: Name of the folder of label maps.

        Returns:
            The folder with `<relative path>.png`.
        """
        images = dict(data_prefix=dict(img_path=split))
        self.source.embed(out / 'features', dict(self.source.dataset, **images))
        labels = LabelsStep(
            self.source,
            out / 'features',
            self.clusters,
            threshold=out,  # given below
            makes=out / name,
            dataset=dict(self.label_dataset, **images),
            transform=self.label_transform,
        )
        scores = load_features(self.features).score_counts
        certain = certain_scores(scores, self.certain_quantiles, self.threshold)
        return labels.label(out / name, self.threshold, certain)


@dataclass(frozen=True)
class PredictionStep:
    """The fine-tuned network, as the last step.

    Attributes:
        work_dir: Work directory of the finished run.
        data_root: Holds the splits.
        num_clusters: K.
        ignore_index: Mask id of pixels that count nowhere.
    """

    work_dir: Path
    data_root: Path
    num_clusters: int
    ignore_index: int
    name: str = 'prediction'
    used_sam: bool = False

    def cluster_accuracy(self, split: str, out: Path) -> None:
        """None: a network that labels pixels puts no image into a cluster."""

    def label_split(self, split: str, out: Path) -> Path:
        """Predict the images of a split of the run's data set.

        Args:
            split: Folder below the data root.
            out: Gets the folder labels, which later calls take up.

        Returns:
            The folder with `<relative path>.png`.
        """
        return self._predict(LUSSInferencer(self.work_dir, names='none'), split, out / 'labels')

    def categories_of_split(self, split: str, out: Path) -> Path:
        """Predict with "others" ruled out: argmax over the categories 1 to K.

        Args:
            split: Folder below the data root.
            out: Gets the folder categories, which later calls take up.

        Returns:
            The folder with `<relative path>.png`.
        """
        inferencer = LUSSInferencer(self.work_dir, names='none')
        inferencer.model.decode_head.register_forward_hook(_rule_out_others)
        return self._predict(inferencer, split, out / 'categories')

    def _predict(self, inferencer: LUSSInferencer, split: str, out: Path) -> Path:
        images = self.data_root / split
        inference = FolderInference(inferencer, images, outputs=(LABELS,), on_bad_image='error')
        return inference.write(out) / LABELS


def _rule_out_others(head: nn.Module, inputs: tuple, logits: Tensor) -> Tensor:
    """Logits of a decode head with the least number for id 0. Shape (B, K + 1, h, w)."""
    lowest = torch.finfo(logits.dtype).min
    return torch.cat([torch.full_like(logits[:, :1], lowest), logits[:, 1:]], dim=1)


def find_prediction_step(work_dir: str | Path) -> PredictionStep:
    """The fine-tuned network of a finished run.

    Raises:
        FileNotFoundError: If the run is not finished.
        ConfigError: If it makes no pseudo-labels.
    """
    last = find_label_steps(work_dir)[-1]
    data_root = Path(last.label_dataset['data_root'])
    return PredictionStep(Path(work_dir), data_root, last.num_clusters, last.ignore_index)


def find_label_steps(work_dir: str | Path) -> list[LabelStep]:
    """Steps of a run in their order; the last is what the run was fine-tuned on.

    Thresholds are each step's own by Otsu's rule, or the run's, where that has another rule.

    Raises:
        FileNotFoundError: If the run is not finished.
        ConfigError: If it makes no pseudo-labels.
    """
    run = RunFolder(work_dir)
    config = _config_of(run, LAST_STAGE)
    last = {step.name: step for step in steps_of(config)}
    if 'labels' not in last:
        raise ConfigError(f'{work_dir}: has made no pseudo-labels. Name a run of PASS or PDSO.')
    labels, threshold = last['labels'], last['threshold']
    refined = labels.transform
    coarse = dict(refined, segmenter=None)

    def label_step(name: str, clusters: ClustersStep | DenoisedStep, transform: dict) -> LabelStep:
        features = run.path / clusters.features.name  # the run may have been moved
        return LabelStep(
            name,
            clusters.source,
            features,
            run.path / clusters.makes.name,
            labels.dataset,
            transform,
            _threshold(run, threshold.rule, features),
            config.train_dataloader.dataset['ignore_index'],
            threshold.certain_quantiles,
        )

    earlier = [
        step
        for stage in run.trained_stages()
        if stage != LAST_STAGE
        for step in steps_of(_config_of(run, stage))
        if step.name == 'clusters' and step.makes != last['clusters'].makes
    ]
    steps = [label_step('k-means', step, coarse) for step in earlier]
    steps.append(label_step('DFF' if earlier else 'k-means', last['clusters'], coarse))
    if 'denoised' in last:
        steps.append(label_step('CSD', last['denoised'], coarse))
    if refined.get('segmenter'):
        steps.append(label_step('SPO', last.get('denoised', last['clusters']), refined))
    return steps


def _config_of(run: RunFolder, stage: str) -> Config:
    path = run.stage(stage).config
    if not path.is_file():
        raise FileNotFoundError(f'{path.parent}: not finished. Run the recipe first.')
    return read_own_config(path)


def _threshold(run: RunFolder, rule: str | float, features: Path) -> float:
    if rule == 'otsu':
        return otsu_threshold(load_features(features).score_counts)
    return load_threshold(run.threshold).threshold
