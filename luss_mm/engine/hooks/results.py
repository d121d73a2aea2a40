"""What a training shows and leaves besides weights: progress, scores, names of ids, pictures."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmseg.engine.hooks import SegVisualizationHook
from mmseg.registry import DATASETS, HOOKS, TRANSFORMS, VISUALIZERS
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from luss_mm.datasets import LUSSDataset
from luss_mm.datasets.image_index import ImagePaths
from luss_mm.datasets.mask_files import IGNORE_INDEX
from luss_mm.datasets.transforms.loading import keeps_stored_pixels
from luss_mm.engine.processes import bare_model
from luss_mm.evaluation.cluster_names import name_of, run_names
from luss_mm.functional.label_codec import category_palette
from luss_mm.functional.pixel_assignment import resize_score
from luss_mm.inference.feature_source import shared_source
from luss_mm.pipeline.generate_labels import PixelLabeller
from luss_mm.pipeline.image_counts import has_image_counts, rank_images
from luss_mm.recipes.stage_config import LOCAL_BACKEND
from luss_mm.terminal import Progress
from luss_mm.visualization.pictures import (
    blend_labels,
    picture_strip,
    save_picture,
    score_heatmap,
)
from luss_mm.visualization.run_pictures import (
    STRIPS,
    decoration,
    read_rgb,
    save_cluster_sheets,
    save_loss_curves,
    save_threshold_histogram,
    strip_name,
)
from luss_mm.work_dir.run_folder import (
    EvaluationFolder,
    RunFolder,
    StageFolder,
    load_clusters,
    load_features,
    load_threshold,
)

RECENT = 20  # iterations whose loss is averaged
FIGURES = 4  # of a validation that are shown
MOST_IDS = 256  # that 8 bits hold
SUFFIXES = ('.png', '.jpg')


@HOOKS.register_module()
class TrainingProgressHook(Hook):
    """Tells how many images a training has seen, its rate, loss and the time left.

    `StagedRunner` registers it; the log file has mmengine's own lines.

    Args:
        title: Title of the training.
    """

    priority = 'LOW'  # the loss of the iteration is known

    def __init__(self, title: str) -> None:
        self.title = title

    def before_train(self, runner) -> None:
        """Begin, or go on where a resumed training is."""
        self.batch = (runner.train_dataloader.batch_size or 1) * runner.world_size
        self.progress = Progress(
            self.title, runner.max_iters * self.batch, done=runner.iter * self.batch
        )

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Count the images of the batch."""
        loss = runner.message_hub.log_scalars.get('train/loss')
        note = f', loss {loss.mean(RECENT):.4g}' if loss is not None else ''
        self.progress.advance(self.batch, note)

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Show the first figures of a validation in the course of the training."""
        if runner.iter < runner.max_iters and metrics:
            figures = list(metrics.items())[:FIGURES]
            shown = ', '.join(f'{name} {value:.2f}' for name, value in figures)
            print_log(f'{shown} after {runner.iter} steps', logger='current')


@HOOKS.register_module()
class FinalValidationHook(Hook):
    """Writes the latest scores, and validates after training if that has not happened yet.

    A kill between the last checkpoint and its validation would otherwise leave a finished training
    without a score: the resumed loop has no epoch left that would validate.
    """

    priority = 'LOW'

    def __init__(self) -> None:
        self._validated_iter: int | None = None

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Write the scores."""
        self._validated_iter = runner.iter
        if is_main_process():
            StageFolder(runner.work_dir).write_metrics(runner.epoch, runner.iter, metrics)

    def after_train(self, runner) -> None:
        """Validate if the final model has no score."""
        if runner.val_loop is not None and self._validated_iter != runner.iter:
            runner.val_loop.run()


@HOOKS.register_module()
class ClassNamesHook(Hook):
    """Puts names and colours of predicted ids where mmseg looks for them: `meta.dataset_meta`.

    A segmentor that learnt clusters gets the categories that they were matched to, or `cluster 3`;
    what the training data set names already stays.
    """

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Complete the meta information of a checkpoint."""
        model = bare_model(runner)
        head = getattr(model, 'decode_head', None)
        meta = dict(checkpoint['meta'].get('dataset_meta') or {})
        if head is None or meta.get('classes'):
            return
        names = run_names(runner.work_dir)
        meta['classes'] = tuple(name_of(i, names) for i in range(head.num_classes))
        meta['palette'] = category_palette(head.num_classes).tolist()
        checkpoint['meta']['dataset_meta'] = meta


@HOOKS.register_module()
class PredictionVisualizationHook(SegVisualizationHook):
    """Draws predictions under the names of the checkpoint, see `ClassNamesHook`.

    mmseg's hook would give clusters the names of the tested data set's categories. Masks are drawn
    too where both have the same names.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._meta: dict = {}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remember the names."""
        self._meta = checkpoint.get('meta', {}).get('dataset_meta') or {}

    def after_val_iter(
        self, runner, batch_idx: int, data_batch: dict, outputs: Sequence[SegDataSample]
    ) -> None:
        """Draw the first prediction of every `interval`-th batch."""
        with self._named(outputs) as samples:
            super().after_val_iter(runner, batch_idx, data_batch, samples)

    def after_test_iter(
        self, runner, batch_idx: int, data_batch: dict, outputs: Sequence[SegDataSample]
    ) -> None:
        """Draw every prediction."""
        with self._named(outputs) as samples:
            super().after_test_iter(runner, batch_idx, data_batch, samples)

    @contextmanager
    def _named(self, outputs: Sequence[SegDataSample]) -> Iterator[Sequence[SegDataSample]]:
        """What to draw, while the visualizer has the names of the predictions."""
        own = self._visualizer.dataset_meta or {}
        names = self._meta.get('classes')
        if not names or tuple(names) == tuple(own.get('classes') or ()):
            yield outputs
            return
        self._visualizer.dataset_meta = self._meta
        try:
            yield [
                SegDataSample(metainfo=sample.metainfo, pred_sem_seg=sample.pred_sem_seg)
                for sample in outputs
            ]
        finally:
            self._visualizer.dataset_meta = own


@VISUALIZERS.register_module()
class StageVisualizer(SegLocalVisualizer):
    """mmseg's visualizer, also for label maps of clusters, which have no names.

    It does not let mmseg's inferencer write label maps that 8 bits cut:
    `MMSegInferencer(..., out_dir=DIR)` saves ids as bytes, so that id 256 becomes 0. It draws each
    picture into a file before it saves the label map. mmseg's `browse_dataset.py` names a file too,
    but draws what the data set holds.
    """

    def add_datasample(
        self, *args: Any, draw_gt: bool = True, out_file: str | None = None, **kwargs: Any
    ) -> None:
        """Draw, see `SegLocalVisualizer`; without names of classes, `cluster 1` and so on.

        Raises:
            ValueError: If a file is named for a prediction and the model has more than 256 ids.
        """
        meta = self.dataset_meta or {}
        ids = len(meta.get('classes') or ())
        if out_file is not None and not draw_gt and ids > MOST_IDS:
            raise ValueError(
                f'out_dir: MMSegInferencer saves label maps of 8 bits, which cannot hold the {ids} '
                'ids of this model. Leave out_dir out and save what it returns, or run '
                'tools/infer.py, which writes id = R + 256 G.'
            )
        self.dataset_meta = meta if ids else meta | _clusters()
        try:
            super().add_datasample(*args, draw_gt=draw_gt, out_file=out_file, **kwargs)
        finally:
            self.dataset_meta = meta


@cache
def _clusters() -> dict[str, Any]:
    """Names and colours of all ids that a label map can hold."""
    names = tuple(name_of(i, {}) for i in range(IGNORE_INDEX))
    return dict(classes=names, palette=category_palette(IGNORE_INDEX).tolist())


@HOOKS.register_module()
class PicturesHook(Hook):
    """Writes cluster sheets, strips of images, loss curves and the threshold's histogram.

    Args:
        directory: Directory of the recipe; the pictures go into its folder `pictures`.
        source: Arguments of `FeatureSource`: network and images that were clustered.
        label_transform: Config of `GeneratePseudoLabel`.
        unscored_dataset: Images shown where nothing is scored, as the segmentor is tested.
        features: Name of the folder of features.
        clusters: Name of the folder of clusters that pixels were labelled with.
        num_strips: Images shown of the validation split or of `unscored_dataset`, evenly spread.
        num_extremes: The best and the worst of them that are shown as well, each so many.
        images_per_cluster: Shown on each sheet.
    """

    priority = 'LOWEST'

    def __init__(
        self,
        directory: str,
        source: dict[str, Any],
        label_transform: dict[str, Any],
        unscored_dataset: dict[str, Any],
        features: str = 'features',
        clusters: str = 'clusters',
        num_strips: int = 24,
        num_extremes: int = 12,
        images_per_cluster: int = 24,
    ) -> None:
        self.run = RunFolder(directory)
        self.source = shared_source(source)
        self.label_transform = label_transform
        self.unscored_dataset = unscored_dataset
        self.features = self.run.path / features
        self.clusters = self.run.path / clusters
        self.pictures = self.run.pictures
        self.num_strips = num_strips
        self.num_extremes = num_extremes
        self.images_per_cluster = images_per_cluster

    def after_train(self, runner) -> None:
        """Draw, on one rank."""
        if is_main_process():
            with decoration(f'pictures in {self.pictures}'):
                self._draw(runner)

    def _draw(self, runner) -> None:
        pictures = self.pictures
        clusters = load_clusters(self.clusters)
        dataset = DATASETS.build(self.source.dataset)
        save_cluster_sheets(
            pictures / 'clusters',
            ImagePaths(dataset),
            clusters.assignment,
            clusters.squared_distances,
            len(clusters.centroids),
            images_per_cluster=self.images_per_cluster,
        )
        save_threshold_histogram(
            load_features(self.features).score_counts,
            load_threshold(self.run.threshold).threshold,
            pictures / 'foreground_threshold.png',
        )
        for stage in self.run.trained_stages():
            save_loss_curves(self.run.path / stage, pictures / f'losses_{stage}.png')
        save_loss_curves(Path(runner.work_dir), pictures / 'losses_finetune.png')
        if runner.val_loop is not None:
            shown = runner.val_loop.dataloader.dataset
        else:
            shown = DATASETS.build(self.unscored_dataset)
        shares = self._save_strips(runner, shown, clusters.centroids, pictures / STRIPS)
        if runner.val_loop is None:  # else the metric counts them, of all images
            means = dict(zip(('pseudo_labels', 'predictions'), shares.mean(axis=0), strict=True))
            self.run.write_pictured_foreground(means | dict(images=len(shares)))
        print_log(f'pictures: {pictures}', logger='current')

    @torch.inference_mode()
    def _save_strips(
        self, runner, dataset: LUSSDataset, centroids: np.ndarray, directory: Path
    ) -> np.ndarray:
        """Draw; returns the shares of foreground in pseudo-label and prediction. Shape (N, 2)."""
        model = bare_model(runner)
        model.eval()
        evaluation = StageFolder(runner.work_dir).evaluation
        names = self._category_of_cluster(evaluation, len(centroids))
        num_ids = max(len(dataset.metainfo.get('classes') or ()), int(names.max()) + 1)
        palette = category_palette(num_ids)
        chosen = load_threshold(self.run.threshold)
        labeller = PixelLabeller(
            self.source.model,
            centroids,
            chosen.threshold,
            TRANSFORMS.build(self.label_transform),
            chosen.certain_scores,
        )
        shares = []
        for index in self._chosen_images(dataset, evaluation):
            info = dataset.get_data_info(index)
            sample = dataset[index]
            size = tuple(sample['data_samples'].ori_shape)
            loaded_image = read_rgb(info['img_path'], keeps_stored_pixels(dataset.pipeline))
            single = dict(
                inputs=sample['inputs'].flip(0),
                ori_shape=size,
                loaded_image=torch.from_numpy(loaded_image),
            )
            images = single['inputs'][None].to(next(model.parameters()).device)
            normalized = labeller.model.data_preprocessor.normalize(images)
            embeddings, scores = labeller.model.embed(normalized)
            (pseudo,) = labeller.label([single], embeddings.cpu().numpy())
            batch = dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
            prediction = model.test_step(batch)[0].pred_sem_seg.data[0].cpu().numpy()
            score = resize_score(scores, size)[0].cpu().numpy()
            labels = {'pseudo-label': pseudo['gt_seg_map'], 'prediction': prediction}
            if labeller.transform.segmenter:
                labels = {'coarse label': pseudo['coarse_label']} | labels
            panels = [
                ('image', loaded_image),
                ('foreground score', score_heatmap(score, loaded_image)),
            ]
            panels += [
                (title, blend_labels(loaded_image, names[ids], palette))
                for title, ids in labels.items()
            ]
            annotation = sample['data_samples'].get('gt_sem_seg')  # as scored
            if annotation is not None:
                truth, ignored = annotation.data[0].numpy(), dataset.ignore_index
                shown = blend_labels(loaded_image, truth, palette, ignore_index=ignored)
                panels.append(('truth', shown))
            name = strip_name(index, info['img_path'])
            save_picture(directory / name, picture_strip(panels))
            shares.append([(labels > 0).mean() for labels in (pseudo['gt_seg_map'], prediction)])
        return np.array(shares)

    def _chosen_images(self, dataset: LUSSDataset, evaluation: EvaluationFolder) -> list[int]:
        """Images spread over the split, and those that were segmented best and worst."""
        count = min(self.num_strips, len(dataset))
        chosen = set(np.linspace(0, len(dataset) - 1, count).astype(int).tolist())
        if has_image_counts(evaluation.path):
            ranking = [image for _, image in rank_images(evaluation.path)]
            extremes = {*ranking[: self.num_extremes], *ranking[::-1][: self.num_extremes]}
            chosen.update(i for i, path in enumerate(ImagePaths(dataset)) if path in extremes)
        return sorted(chosen)

    @staticmethod
    def _category_of_cluster(evaluation: EvaluationFolder, num_clusters: int) -> np.ndarray:
        """Category id of every generated id; generated ids themselves where none were matched."""
        if not evaluation.match_file.is_file():
            return np.arange(num_clusters + 1)
        return evaluation.mapping()


@HOOKS.register_module()
class BackendPicturesHook(Hook):
    """Gives what the other hooks of a stage have drawn to the visualizer's backends.

    Hooks that draw say where in their attribute `pictures`. The local backend gets nothing: the
    pictures lie beside its files.

    Args:
        pictures_per_folder: Shown of a folder, evenly spread: there may be a sheet for each of
            hundreds of clusters.
    """

    priority = 'NORMAL'  # LoggerHook, below it, closes the backends

    def __init__(self, pictures_per_folder: int = 64) -> None:
        self.pictures_per_folder = pictures_per_folder

    def after_run(self, runner) -> None:
        """Send the pictures, from one rank."""
        backends = [  # mmengine has no public list of them
            backend
            for name, backend in runner.visualizer._vis_backends.items()
            if name != LOCAL_BACKEND
        ]
        if not backends or not is_main_process():
            return
        folders = {Path(h.pictures) for h in runner.hooks if getattr(h, 'pictures', None)}
        files = {file: name for folder in folders for name, file in self._chosen(folder)}
        with decoration('pictures in the backends'):
            for file, name in sorted(files.items()):
                picture = read_rgb(file)
                for backend in backends:
                    backend.add_image(name, picture, step=runner.iter)

    def _chosen(self, folder: Path) -> list[tuple[str, Path]]:
        """Names and files below a folder, without what was set aside (a dot in its name)."""
        by_parent: dict[Path, list[Path]] = {}
        for file in sorted(folder.rglob('*')):
            parents = file.relative_to(folder).parts[:-1]
            if file.suffix in SUFFIXES and not any('.' in part for part in parents):
                by_parent.setdefault(file.parent, []).append(file)
        chosen = []
        for files in by_parent.values():
            spread = np.linspace(0, len(files) - 1, min(len(files), self.pictures_per_folder))
            chosen += [files[i] for i in np.unique(spread.astype(int))]
        return [
            (file.relative_to(folder.parent).with_suffix('').as_posix(), file) for file in chosen
        ]
