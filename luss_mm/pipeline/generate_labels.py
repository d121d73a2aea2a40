"""Clusters and attention to label maps: one ImageNet-S coded PNG an image."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from luss_mm.datasets import LUSSDataset
from luss_mm.functional.label_codec import encode_label_map
from luss_mm.functional.pixel_assignment import assign_pixels
from luss_mm.functional.pixel_attention import foreground_score
from luss_mm.models.pixel_attention_model import PixelAttentionModel
from luss_mm.pipeline.artifact import produce
from luss_mm.pipeline.image_batches import ShardedBatches


def generate_labels(
    directory: str | Path,
    model: PixelAttentionModel,
    batches: ShardedBatches,
    centroids: np.ndarray,
    threshold: float,
    inputs: Mapping[str, Any],
    settings: Mapping[str, Any],
    device: torch.device | str = 'cpu',
    used_ground_truth: tuple[str, ...] = (),
) -> Path:
    """Write the label map of every image of a data set: `<directory>/<relative path>.png`.

    Memory: one batch of feature maps and full-size label maps. Disk: one PNG an image.

    Args:
        directory: Of the output.
        model: With pretrained backbone and attention; put into eval mode.
        batches: Over whole images; its data set is a `LUSSDataset`.
        centroids: float32 (K, C).
        threshold: Foreground scores below it become 0.
        inputs: Names to keys: checkpoint, clusters, data.
        settings: What else decides the label maps.
        device: The model's.
        used_ground_truth: Passed on from the choice of the threshold.

    Returns:
        The directory.
    """

    def make(unfinished: Path) -> None:
        _write_shards(unfinished, model, batches, centroids, threshold, device)

    settings = dict(settings, threshold=threshold)
    return produce(directory, make, inputs, settings, used_ground_truth=used_ground_truth)


@torch.inference_mode()
def label_images(
    model: PixelAttentionModel,
    images: torch.Tensor,
    sizes: list[tuple[int, int]],
    centroids: torch.Tensor,
    threshold: float,
) -> list[np.ndarray]:
    """Label maps of images of one input size at their original sizes, int64 (H, W) each.

    Args:
        model: In eval mode.
        images: Normalised. Shape (B, 3, h, w).
        sizes: Height and width of each result.
        centroids: float32 (K, C) on the images' device.
        threshold: Foreground scores below it become 0.
    """
    features, gates = model.attend(images)
    scores = foreground_score(gates)
    return [
        assign_pixels(features[i : i + 1], centroids, scores[i : i + 1], threshold, size)[0]
        .cpu()
        .numpy()
        for i, size in enumerate(sizes)
    ]


def _write_shards(
    directory: Path,
    model: PixelAttentionModel,
    batches: ShardedBatches,
    centroids: np.ndarray,
    threshold: float,
    device: torch.device | str,
) -> None:
    model.eval().to(device)
    markers = directory / '.finished-shards'
    markers.mkdir(exist_ok=True)
    finished = {int(marker.name) for marker in markers.iterdir()}
    centroids_on_device = torch.from_numpy(centroids).to(device)
    for shard, shard_batches in batches.iterate(finished, 'pixel labels'):
        for batch in shard_batches:
            images = torch.stack([sample['inputs'] for sample in batch]).to(device)
            label_maps = label_images(
                model,
                model.data_preprocessor.normalize(images),
                [tuple(sample['ori_shape']) for sample in batch],
                centroids_on_device,
                threshold,
            )
            for sample, labels in zip(batch, label_maps, strict=True):
                save_label_map(label_path(directory, batches.dataset, sample['index']), labels)
        # A map that a kill cut short belongs to a shard without marker, which is made anew.
        (markers / str(shard)).touch()


def label_path(directory: Path, dataset: LUSSDataset, index: int) -> Path:
    """Where the label map of a sample lies: the image's relative path with the suffix .png."""
    return directory / Path(dataset.relative_path(index)).with_suffix('.png')


def save_label_map(path: Path, labels: np.ndarray) -> None:
    """Write an ImageNet-S coded PNG.

    Raises:
        OSError: If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.stem}.{os.getpid()}.tmp.png')
    rgb = encode_label_map(labels)
    if not cv2.imwrite(str(temporary), rgb[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise OSError(f'{path}: cannot be written. Check the free space and the permissions.')
    os.replace(temporary, path)
