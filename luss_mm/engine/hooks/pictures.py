"""Pictures of the finished run beside its numbers."""

import json
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmseg.registry import DATASETS, HOOKS

from luss_mm.datasets.transforms.loading import read_label_map
from luss_mm.engine.hooks.pseudo_labels import load_attention_model
from luss_mm.functional.palette import category_palette
from luss_mm.functional.pixel_assignment import resize_score
from luss_mm.functional.pixel_attention import foreground_score
from luss_mm.pipeline.cluster_features import load_clusters
from luss_mm.pipeline.extract_features import load_features
from luss_mm.pipeline.generate_labels import label_images
from luss_mm.pipeline.pseudo_labels import CLUSTERS, FEATURES, THRESHOLD
from luss_mm.visualization.run_pictures import (
    SegmentedImage,
    read_rgb,
    save_cluster_sheets,
    save_loss_curves,
    save_strip,
    save_threshold_histogram,
)


@HOOKS.register_module()
class PicturesHook(Hook):
    """Writes cluster sheets, validation strips, loss curves and the threshold's histogram.

    Args:
        directory: Of the recipe; the pictures go into its folder `pictures`.
        attention_config: Config of the attention stage.
        attention_checkpoint: Its weights.
        dataset: Config of the training images that were clustered.
        stages: Stages whose loss curves are drawn.
        num_strips: Validation images shown, evenly spread over the split.
        images_per_cluster: Shown on each sheet.
    """

    priority = 'LOWEST'

    def __init__(
        self,
        directory: str,
        attention_config: str,
        attention_checkpoint: str,
        dataset: dict,
        stages: tuple[str, ...] = ('pretrain', 'attention'),
        num_strips: int = 24,
        images_per_cluster: int = 24,
    ) -> None:
        self.directory = Path(directory)
        self.attention = (attention_config, attention_checkpoint)
        self.dataset = dataset
        self.stages = stages
        self.num_strips = num_strips
        self.images_per_cluster = images_per_cluster

    def after_train(self, runner) -> None:
        """Draw, on one rank."""
        if not is_main_process():
            return
        pictures = self.directory / 'pictures'
        clusters = load_clusters(self.directory / CLUSTERS)
        dataset = DATASETS.build(self.dataset)
        save_cluster_sheets(
            pictures / 'clusters',
            [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))],
            clusters.assignment,
            clusters.squared_distances,
            len(clusters.centroids),
            self.images_per_cluster,
        )
        save_threshold_histogram(
            load_features(self.directory / FEATURES).score_counts,
            self._threshold(),
            pictures / 'foreground_threshold.png',
        )
        for stage in self.stages:
            save_loss_curves(self.directory / stage, pictures / f'losses_{stage}.png')
        save_loss_curves(Path(runner.work_dir), pictures / 'losses_finetune.png')
        if runner.val_loop is not None:
            self._save_strips(runner, clusters.centroids, pictures / 'validation')
        print_log(f'pictures: {pictures}', logger='current')

    @torch.inference_mode()
    def _save_strips(self, runner, centroids: np.ndarray, directory: Path) -> None:
        dataset = runner.val_loop.dataloader.dataset
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        attention = load_attention_model(*self.attention)
        names = self._category_of_cluster(Path(runner.work_dir), len(centroids))
        num_ids = max(len(dataset.metainfo.get('classes', ())), names.max() + 1)
        palette = category_palette(num_ids)
        device_centroids = torch.from_numpy(centroids).to(next(attention.parameters()).device)
        model.eval()
        chosen = np.linspace(0, len(dataset) - 1, min(self.num_strips, len(dataset))).astype(int)
        for index in np.unique(chosen):
            info = dataset.get_data_info(int(index))
            sample = dataset[int(index)]
            size = tuple(sample['data_samples'].ori_shape)
            rgb = sample['inputs'].flip(0)[None].to(device_centroids.device)  # (1, 3, h, w)
            images = attention.data_preprocessor.normalize(rgb)
            _, gates = attention.attend(images)
            score = resize_score(foreground_score(gates), size)[0].cpu().numpy()
            pseudo = label_images(attention, images, [size], device_centroids, self._threshold())[0]
            batch = dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
            prediction = model.test_step(batch)[0].pred_sem_seg.data[0].cpu().numpy()
            truth = read_label_map(info['seg_map_path']) if 'seg_map_path' in info else None
            segmented = SegmentedImage(
                read_rgb(info['img_path']), score, names[pseudo], names[prediction], truth
            )
            save_strip(directory / f'{index:06d}.jpg', segmented, palette)

    def _threshold(self) -> float:
        return json.loads((self.directory / THRESHOLD / 'threshold.json').read_text())['threshold']

    @staticmethod
    def _category_of_cluster(stage_directory: Path, num_clusters: int) -> np.ndarray:
        """Category id of every generated id; generated ids themselves where none were matched."""
        path = stage_directory / 'evaluation' / 'match.json'
        if not path.is_file():
            return np.arange(num_clusters + 1)
        match = json.loads(path.read_text())
        return np.array([match[str(i)] for i in range(num_clusters + 1)])
