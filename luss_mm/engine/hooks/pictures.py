"""Pictures of the finished run beside its numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmseg.registry import DATASETS, HOOKS, TRANSFORMS

from luss_mm.datasets import LUSSDataset
from luss_mm.datasets.image_entries import ImagePaths
from luss_mm.datasets.transforms.loading import keeps_stored_pixels
from luss_mm.engine.decoration import decoration
from luss_mm.functional.label_codec import category_palette
from luss_mm.functional.pixel_assignment import resize_score
from luss_mm.inference.feature_source import FeatureSource
from luss_mm.pipeline.cluster_features import load_clusters
from luss_mm.pipeline.extract_features import load_features
from luss_mm.pipeline.generate_labels import PixelLabeller
from luss_mm.pipeline.image_counts import has_image_counts, rank_images
from luss_mm.pipeline.pseudo_labels import THRESHOLD
from luss_mm.pipeline.run_health import PICTURED_FOREGROUND
from luss_mm.visualization.run_pictures import (
    STRIPS,
    SegmentedImage,
    read_rgb,
    save_cluster_sheets,
    save_loss_curves,
    save_strip,
    save_threshold_histogram,
    strip_name,
)
from luss_mm.work_dir.atomic_files import write_atomically


@HOOKS.register_module()
class PicturesHook(Hook):
    """Writes cluster sheets, strips of images, loss curves and the threshold's histogram.

    Args:
        directory: Of the recipe; the pictures go into its folder `pictures`.
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
        self.directory = Path(directory)
        self.source = FeatureSource(**source)
        self.label_transform = label_transform
        self.unscored_dataset = unscored_dataset
        self.features = self.directory / features
        self.clusters = self.directory / clusters
        self.pictures = self.directory / 'pictures'
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
            self.images_per_cluster,
        )
        save_threshold_histogram(
            load_features(self.features).score_counts,
            self._chosen_scores()['threshold'],
            pictures / 'foreground_threshold.png',
        )
        for config in self.directory.glob('*/config.py'):
            if '.' not in (stage := config.parent.name):  # a dot marks what was set aside
                save_loss_curves(config.parent, pictures / f'losses_{stage}.png')
        save_loss_curves(Path(runner.work_dir), pictures / 'losses_finetune.png')
        if runner.val_loop is not None:
            shown = runner.val_loop.dataloader.dataset
        else:
            shown = DATASETS.build(self.unscored_dataset)
        shares = self._save_strips(runner, shown, clusters.centroids, pictures / STRIPS)
        if runner.val_loop is None:  # else the metric counts them, of all images
            means = dict(zip(('pseudo_labels', 'predictions'), shares.mean(axis=0), strict=True))
            content = json.dumps(means | dict(images=len(shares)), indent=2)
            write_atomically(self.directory / PICTURED_FOREGROUND, content.encode())
        print_log(f'pictures: {pictures}', logger='current')

    @torch.inference_mode()
    def _save_strips(
        self, runner, dataset: LUSSDataset, centroids: np.ndarray, directory: Path
    ) -> np.ndarray:
        """Draw; returns the shares of foreground in pseudo-label and prediction. Shape (N, 2)."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.eval()
        evaluation = Path(runner.work_dir, 'evaluation')
        names = self._category_of_cluster(evaluation, len(centroids))
        num_ids = max(len(dataset.metainfo.get('classes') or ()), int(names.max()) + 1)
        palette = category_palette(num_ids)
        chosen = self._chosen_scores()
        labeller = PixelLabeller(
            self.source.model,
            centroids,
            chosen['threshold'],
            TRANSFORMS.build(self.label_transform),
            chosen.get('certain_scores'),
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
            annotation = sample['data_samples'].get('gt_sem_seg')  # as scored
            truth = None if annotation is None else annotation.data[0].numpy()
            segmented = SegmentedImage(
                loaded_image,
                resize_score(scores, size)[0].cpu().numpy(),
                names[pseudo['gt_seg_map']],
                names[prediction],
                names[pseudo['coarse_label']] if labeller.transform.segmenter else None,
                truth,
            )
            path = directory / strip_name(index, info['img_path'])
            save_strip(path, segmented, palette, dataset.ignore_index)
            shares.append([(labels > 0).mean() for labels in (pseudo['gt_seg_map'], prediction)])
        return np.array(shares)

    def _chosen_images(self, dataset: LUSSDataset, evaluation: Path) -> list[int]:
        """Images spread over the split, and those that were segmented best and worst."""
        count = min(self.num_strips, len(dataset))
        chosen = set(np.linspace(0, len(dataset) - 1, count).astype(int).tolist())
        if has_image_counts(evaluation):
            ranking = [image for _, image in rank_images(evaluation)]
            extremes = {*ranking[: self.num_extremes], *ranking[::-1][: self.num_extremes]}
            chosen.update(i for i, path in enumerate(ImagePaths(dataset)) if path in extremes)
        return sorted(chosen)

    def _chosen_scores(self) -> dict[str, Any]:
        return json.loads((self.directory / THRESHOLD / 'threshold.json').read_text())

    @staticmethod
    def _category_of_cluster(evaluation: Path, num_clusters: int) -> np.ndarray:
        """Category id of every generated id; generated ids themselves where none were matched."""
        path = evaluation / 'match.json'
        if not path.is_file():
            return np.arange(num_clusters + 1)
        match = json.loads(path.read_text())
        return np.array([match[str(i)] for i in range(num_clusters + 1)])
