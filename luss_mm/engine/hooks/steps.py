"""The steps between trainings as hooks: each gives the steps of `inference.steps` to a training.

Steps are run in the order in which a stage lists its hooks: maps, clusters, label maps.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmseg.registry import DATASETS, HOOKS, MODELS

from luss_mm.checkpoints.loading import load_checkpoint, load_weights
from luss_mm.datasets.transforms.loading import keeps_stored_pixels
from luss_mm.engine.processes import bare_model
from luss_mm.functional.label_codec import category_palette
from luss_mm.functional.sample_selection import retained_counts
from luss_mm.inference.feature_source import shared_source
from luss_mm.inference.steps import (
    ClustersStep,
    DenoisedStep,
    FeaturesStep,
    LabelsStep,
    MapsStep,
    ScoresStep,
    ThresholdStep,
)
from luss_mm.pipeline.clusters import KMeans
from luss_mm.pipeline.features import ScoringRule, write_selection
from luss_mm.pipeline.generate_labels import CERTAIN_QUANTILES
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.pipeline.step import Step
from luss_mm.pipeline.tagged_labels import (
    PROBABILITIES,
    SCALES,
    TAGGED_LABELS,
    NumberedImages,
    TaggedLabeller,
    generate_tagged_labels,
    has_mask,
    mask_of,
)
from luss_mm.visualization.pictures import blend_labels, picture_strip, save_picture
from luss_mm.visualization.run_pictures import decoration, plot_retained, read_rgb
from luss_mm.work_dir.artifact import fingerprint_file
from luss_mm.work_dir.run_folder import RETAINED_CHART, RunFolder, StageFolder


class StepHook(Hook):
    """Runs steps before a training.

    Attributes:
        steps: In their order.
    """

    steps: Sequence[Step] = ()

    def check(self) -> None:
        """Refuse, before any stage trains, what could only fail when the steps are run.

        Raises:
            ValueError: Naming the argument and the fix.
        """
        for step in self.steps:
            step.check()

    def before_train(self, runner) -> None:
        """Make whatever is not finished yet."""
        for step in self.steps:
            step.run()


@HOOKS.register_module()
class FeatureMapsHook(StepHook):
    """Caches the maps of the training images for clustering, pixel labels and this training.

    Listed before the hooks that cluster and label.

    Args:
        source: Arguments of `FeatureSource`, with `maps`.
    """

    def __init__(self, source: dict[str, Any]) -> None:
        self.source = shared_source(source)
        self.steps = [MapsStep(self.source)]

    def before_train(self, runner) -> None:
        """Compute the maps that are not there yet.

        Raises:
            ValueError: If this training has other images, or another backbone, than the maps.
        """
        self._refuse_other_images(runner.train_dataloader.dataset)
        model = bare_model(runner)
        self._refuse_other_backbone(model.backbone.state_dict())
        super().before_train(runner)

    def _refuse_other_images(self, trained: Any) -> None:
        cached = DATASETS.build(self.source.dataset)
        same = len(cached) == len(trained) and all(
            cached.relative_path(i) == trained.relative_path(i) for i in range(len(cached))
        )
        if not same:
            raise ValueError(
                f'the maps of {len(cached)} images would be cached, but this stage trains on '
                f'{len(trained)} and they are not the same: give both data sets the same images, '
                'or set cache_maps=False'
            )

    def _refuse_other_backbone(self, weights: dict[str, torch.Tensor]) -> None:
        source = load_checkpoint(self.source.checkpoint)['state_dict']
        different = (
            name
            for name, value in weights.items()
            if f'backbone.{name}' not in source
            or not torch.equal(source[f'backbone.{name}'], value.cpu())
        )
        for name in islice(different, 1):
            raise ValueError(
                f"this stage's backbone differs from that of {self.source.checkpoint}, which the "
                f'maps are cached of, first in {name}: set load_from to that file, or '
                'cache_maps=False'
            )


@HOOKS.register_module()
class ClusterHook(StepHook):
    """Features and k-means, whatever of them is not finished yet.

    Listed before the hooks that read the clusters.

    Args:
        directory: Gets the folders.
        source: Arguments of `FeatureSource`.
        num_clusters: K.
        kmeans_iterations: Iterations of each restart.
        kmeans_restarts: Number of restarts.
        kmeans_initialization: 'random' or 'k-means++', see `fit_kmeans`.
        kmeans_components: Number of principal directions that samples are projected onto, or None,
            see `fit_kmeans`.
        kmeans_neighbours: How many each sample is averaged with, see `fit_kmeans`.
        seed: Seed of k-means.
        features: Name of the folder of features.
        clusters: Name of the folder of clusters.
    """

    def __init__(
        self,
        directory: str,
        source: dict[str, Any],
        num_clusters: int,
        kmeans_iterations: int = 20,
        kmeans_restarts: int = 30,
        kmeans_initialization: str = 'random',
        kmeans_components: int | None = None,
        kmeans_neighbours: int = 0,
        seed: int = 0,
        features: str = 'features',
        clusters: str = 'clusters',
    ) -> None:
        shared = shared_source(source)
        kmeans = KMeans(
            kmeans_iterations,
            kmeans_restarts,
            kmeans_initialization,
            kmeans_components,
            kmeans_neighbours,
            seed,
        )
        embedded, clustered = Path(directory, features), Path(directory, clusters)
        self.steps = [
            FeaturesStep(shared, embedded),
            ClustersStep(shared, embedded, clustered, num_clusters, kmeans),
        ]


@HOOKS.register_module()
class CSDHook(ClusterHook):
    """Features, k-means, and k-means on the samples that clearly belong to a cluster.

    Clustering-based sample denoising. Whatever is not finished yet is made. Sheets of the images
    that were dropped go into `<directory>/pictures/dropped`. Listed before the hooks that read the
    clusters.

    Args:
        directory: Gets the folders.
        source: Arguments of `FeatureSource`.
        num_clusters: K, before and after.
        rule: `margin`, `ratio` or `distance`, see `sample_quality`.
        keep_fraction: Share of all samples that the rule keeps; None with a limit.
        limit: Smallest margin, or largest ratio or squared distance that is kept, or None.
        cap: Largest cluster in multiples of the median size, or None; not published.
        floor: Smallest cluster in multiples of the median size, filled by drawing its samples
            again, or None; not published.
        features: Name of the folder of features.
        clusters: Name of the folder of the clusters of all samples.
        denoised: Name of the folder of the clusters without noisy samples.
        images_per_cluster: Dropped images shown of each cluster.
        **kmeans: As of `ClusterHook`; `seed` is also that of the samples drawn again.

    Source: PDSO, CSD; `keep_fraction` from the authors' published ImageNet-S50 clustering.
    """

    def __init__(
        self,
        directory: str,
        source: dict[str, Any],
        num_clusters: int,
        rule: str = 'margin',
        keep_fraction: float | None = 0.665,
        limit: float | None = None,
        cap: float | None = 2.0,
        floor: float | None = 0.5,
        features: str = 'dff_features',
        clusters: str = 'dff_clusters',
        denoised: str = 'csd_clusters',
        images_per_cluster: int = 24,
        **kmeans: Any,
    ) -> None:
        super().__init__(
            directory, source, num_clusters, features=features, clusters=clusters, **kmeans
        )
        embedding, clustering = self.steps
        self.pictures = RunFolder(directory).pictures / 'dropped'
        self.steps += [
            DenoisedStep(
                embedding.source,
                embedding.makes,
                clustering.makes,
                Path(directory, denoised),
                num_clusters,
                dict(rule=rule, keep_fraction=keep_fraction, limit=limit, cap=cap, floor=floor),
                clustering.kmeans,
                self.pictures,
                images_per_cluster,
            )
        ]


@HOOKS.register_module()
class PseudoLabelHook(StepHook):
    """Threshold and label maps from finished features and clusters.

    `ClusterHook` or `CSDHook` finishes these; list it before.

    Args:
        directory: Gets the folders threshold and pseudo_labels; holds features and clusters.
        source: Arguments of `FeatureSource`: what made the features.
        label_dataset: Config of the whole training images.
        label_transform: Config of `GeneratePseudoLabel`.
        foreground_threshold: 'otsu' (label-free), a number, or 'validation_sweep', which looks at
            the masks of `sweep_dataset`.
        sweep_dataset: Config of the validation images with masks; used by the sweep alone.
        features: Name of the folder of features.
        clusters: Name of the folder of clusters.
        certain_quantiles: Quantiles of the training foreground scores: up to the first a pixel is
            surely background, from the second on surely object. Prompts from the score need them.
    """

    def __init__(
        self,
        directory: str,
        source: dict[str, Any],
        label_dataset: dict[str, Any],
        label_transform: dict[str, Any],
        foreground_threshold: str | float = 'otsu',
        sweep_dataset: dict[str, Any] | None = None,
        features: str = 'features',
        clusters: str = 'clusters',
        certain_quantiles: tuple[float, float] = CERTAIN_QUANTILES,
    ) -> None:
        shared, run = shared_source(source), RunFolder(directory)
        read = run.path / features, run.path / clusters
        self.steps = [
            ThresholdStep(
                shared, *read, run.threshold, foreground_threshold, sweep_dataset, certain_quantiles
            ),
            LabelsStep(
                shared, *read, run.threshold, run.pseudo_labels, label_dataset, label_transform
            ),
        ]


@HOOKS.register_module()
class DFFHook(Hook):
    """Writes the loss and the label of every training image into the stage's directory.

    Denoising-based feature fine-tuning: the next stage trains on the images whose loss is small,
    see `ClassLabelDataset`, which applies the rule, so that another rule needs no new training
    here.

    Args:
        dataset: Config of a `ClassLabelDataset` with all training images as the classifier saw
            them, without augmentation.
        labels: 'given' or 'predicted', see `ScoringRule`.
        loss_labels: 'given' or 'predicted', see `ScoringRule`.
        flip_average: Average the logits over an image and its mirror image.
        batch_size: Images in a forward pass.
        shard_size: Images that an interruption loses at most, and that one rank takes at a time.
        num_workers: Loading processes.
        epoch: After which the classifier scores, counted from 1; None for the last.

    Source: PDSO, DFF: f scores against the k-means labels; g gives new labels.
    """

    def __init__(
        self,
        dataset: dict[str, Any],
        labels: str = 'given',
        loss_labels: str = 'given',
        flip_average: bool = False,
        batch_size: int = 64,
        shard_size: int = 256,
        num_workers: int = 2,
        epoch: int | None = None,
    ) -> None:
        self.epoch = epoch
        rule = ScoringRule(labels, loss_labels, flip_average)
        batching = dict(batch_size=batch_size, shard_size=shard_size, num_workers=num_workers)
        self.steps = [ScoresStep(dataset, rule, batching)]

    def before_train(self, runner) -> None:
        """Refuse an epoch that never comes.

        Raises:
            ValueError: Naming the settings.
        """
        if self.epoch and self.epoch > runner.max_epochs:
            raise ValueError(
                f'epoch={self.epoch} of the {runner.max_epochs} that are trained: set a smaller '
                'relabel_epoch, or more dff_epochs'
            )

    def after_train_epoch(self, runner) -> None:
        """Score after the given epoch."""
        if runner.epoch + 1 == self.epoch:
            self._score(runner)

    def after_train(self, runner) -> None:
        """Score with the finished classifier, if no epoch is given."""
        if self.epoch is None:
            self._score(runner)

    def _score(self, runner) -> None:
        """Score all images once, over all ranks."""
        model = bare_model(runner)
        for step in self.steps:
            step.run(runner.work_dir, model)


@HOOKS.register_module()
class SelectionHook(Hook):
    """Says which images a classifier trains on, and how many of each category were retained.

    Writes the list of selected images with a manifest, a log line and a chart into the folder
    `selection` of the stage. The data set is a `ClassLabelDataset`.

    Args:
        num_categories: K.
    """

    def __init__(self, num_categories: int) -> None:
        self.num_categories = num_categories
        self.pictures: Path | None = None

    def check(self) -> None:
        """Refuse, before any stage trains, labels that all are the same.

        Raises:
            ValueError: Naming the settings.
        """
        if self.num_categories == 1:
            raise ValueError(
                'num_categories=1 gives every image the same label, which leaves classifiers '
                'nothing to tell apart. Set use_dff=False, or another num_categories.'
            )

    def before_train(self, runner) -> None:
        """Write the list."""
        dataset = runner.train_dataloader.dataset
        total, kept = retained_counts(dataset.labels, dataset.kept, self.num_categories)
        folder = write_selection(StageFolder(runner.work_dir).selection, dataset, total, kept)
        if is_main_process():
            summary = (
                f'{kept.sum()} of {total.sum()} images have a small loss; {(kept == 0).sum()} of '
                f'{self.num_categories} categories keep none'
            )
            shares = ', '.join(f'{k}/{t}' for k, t in zip(kept, total, strict=True))
            print_log(f'{summary}: {folder}\nretained of each: {shares}', logger='current')
            chart = folder / RETAINED_CHART
            with decoration(str(chart)):
                plot_retained(total, kept, summary, chart)
        self.pictures = folder


@HOOKS.register_module()
class TaggedLabelHook(Hook):
    """Label maps of all training images from a finished PCT stage, and pictures of some.

    Args:
        directory: Gets the folders tagged_labels and pictures.
        config: Config of the stage.
        checkpoint: Its weights.
        dataset: Config of the `SemiDataset` that the stage was trained on.
        replaced: What is other in its parts 'labelled' and 'unlabelled': a `pipeline` of whole
            images with masks or tags, see `NumberedImages`.
        network: Which of the stage's networks labels: 'hybrid' or 'pseudo'.
        scales: See `TaggedLabeller`.
        flip: See there.
        average: See there.
        batch_size: Images in a forward pass.
        shard_size: Images that an interruption loses at most, and that one rank takes at a time.
        num_workers: Loading processes.
        labels: Name of the folder of label maps.
        num_pictures: Labelled and tagged images shown, as many of each, evenly spread.
    """

    def __init__(
        self,
        directory: str,
        config: str,
        checkpoint: str,
        dataset: Mapping[str, Any],
        replaced: Mapping[str, Mapping[str, Any]],
        network: str = 'hybrid',
        scales: Sequence[float] = SCALES,
        flip: bool = True,
        average: str = PROBABILITIES,
        batch_size: int = 8,
        shard_size: int = 256,
        num_workers: int = 2,
        labels: str = TAGGED_LABELS,
        num_pictures: int = 12,
    ) -> None:
        self.directory = Path(directory)
        self.config = config
        self.checkpoint = checkpoint
        # Revisited images are labelled ones, which come first.
        self.dataset = dict(dataset, revisit_labelled=False) | {
            k: dict(dataset[k], **new) for k, new in replaced.items()
        }
        self.replaced = replaced
        self.network = network
        self.scales = tuple(scales)
        self.flip = flip
        self.average = average
        self.sizes = dict(batch_size=batch_size, shard_size=shard_size)
        self.num_workers = num_workers
        self.labels = labels
        self.pictures = RunFolder(directory).pictures / labels
        self.num_pictures = num_pictures

    def check(self) -> None:
        """Refuse, before any stage trains, what could only fail here.

        Raises:
            ValueError: If the data set cannot be built.
        """
        DATASETS.build(self.dataset)

    def before_train(self, runner) -> None:
        """Make the label maps that the training data loader will read."""
        labeller = self._labeller()
        images = NumberedImages(DATASETS.build(self.dataset))
        generate_tagged_labels(
            self.directory / self.labels,
            labeller,
            ShardedBatches(images, num_workers=self.num_workers, **self.sizes),
            inputs=dict(
                model=fingerprint_file(self.checkpoint), images=images.dataset.fingerprint()
            ),
            settings=dict(network=self.network, whole_images=self.replaced, **self.sizes),
        )
        if is_main_process():
            with decoration(f'pictures in {self.pictures}'):
                self._save_pictures(labeller, images, self.pictures)
        barrier()

    def _labeller(self) -> TaggedLabeller:
        model = MODELS.build(Config.fromfile(self.config).model)
        load_weights(model, self.checkpoint)
        model.eval().to(get_device())
        network = getattr(model, self.network)
        return TaggedLabeller(
            network, model.data_preprocessor, self.scales, self.flip, self.average
        )

    def _save_pictures(
        self, labeller: TaggedLabeller, images: NumberedImages, directory: Path
    ) -> None:
        """What the network says of some images, also where their mask was taken instead."""
        palette = category_palette(labeller.network.decode_head.num_classes)
        first = images.dataset.parts[0]
        ignored, stored_pixels = first.ignore_index, keeps_stored_pixels(first.pipeline)
        for index in self._shown(images):
            sample = images[index]
            annotation = sample['data_samples']
            (labels,) = labeller.label([sample['inputs']], [annotation])
            maps = {'pseudo-label': labels}
            if has_mask(annotation):
                maps['mask'] = mask_of(annotation)
            image = read_rgb(annotation.img_path, stored_pixels)
            panels = [
                (title, blend_labels(image, shown, palette, ignore_index=ignored))
                for title, shown in maps.items()
            ]
            strip = picture_strip([('image', image), *panels])
            save_picture(directory / f'{index:07d}.png', strip)
        print_log(f'pictures: {directory}', logger='current')

    def _shown(self, images: NumberedImages) -> list[int]:
        labelled = images.dataset.num_labelled
        parts = (0, labelled), (labelled, len(images))
        spread = [np.linspace(start, stop - 1, self.num_pictures) for start, stop in parts]
        return np.unique(np.concatenate(spread).astype(int)).tolist()
