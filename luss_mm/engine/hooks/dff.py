"""Denoising-based feature fine-tuning (DFF): every image is scored when a classifier is trained."""

from pathlib import Path
from typing import Any

from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmseg.registry import DATASETS, HOOKS

from luss_mm.engine.decoration import decoration
from luss_mm.functional.sample_selection import retained_counts
from luss_mm.pipeline.image_batches import ShardedBatches
from luss_mm.pipeline.image_scores import ScoringRule, score_images
from luss_mm.pipeline.selected_images import write_selection
from luss_mm.visualization.retained import plot_retained

IMAGE_SCORES = 'image_scores'


@HOOKS.register_module()
class DFFHook(Hook):
    """Writes the loss and the label of every training image into the stage's directory.

    The next stage trains on the images whose loss is small: see `ClassLabelDataset`, which applies
    the rule, so that another rule needs no new training here.

    Args:
        dataset: Config of a `ClassLabelDataset` with all training images as the classifier saw
            them, without augmentation.
        labels: 'given' or 'predicted', see `ScoringRule`.
        loss_labels: 'given' or 'predicted', see `ScoringRule`.
        flip_average: Average the logits over an image and its mirror image.
        batch_size: Images in a forward pass.
        shard_size: Images that an interruption loses at most, and that one rank takes at a time.
        num_workers: Loading processes.

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
    ) -> None:
        self.dataset = dataset
        self.rule = ScoringRule(labels, loss_labels, flip_average)
        self.batching = dict(batch_size=batch_size, shard_size=shard_size, num_workers=num_workers)

    def after_train(self, runner) -> None:
        """Score all images once, over all ranks."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        batches = ShardedBatches(DATASETS.build(self.dataset), **self.batching)
        score_images(
            Path(runner.work_dir, IMAGE_SCORES),
            model,
            batches,
            self.rule,
            inputs=dict(images=batches.dataset.fingerprint()),
            device=get_device(),
        )


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
        folder = write_selection(Path(runner.work_dir, 'selection'), dataset, total, kept)
        if is_main_process():
            summary = (
                f'{kept.sum()} of {total.sum()} images have a small loss; {(kept == 0).sum()} of '
                f'{self.num_categories} categories keep none'
            )
            shares = ', '.join(f'{k}/{t}' for k, t in zip(kept, total, strict=True))
            print_log(f'{summary}: {folder}\nretained of each: {shares}', logger='current')
            with decoration(f'{folder}/retained.png'):
                plot_retained(total, kept, summary, folder / 'retained.png')
        self.pictures = folder
