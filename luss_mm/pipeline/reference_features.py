"""Labelled images to reference vectors, and other images to label maps by their vote."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from luss_mm.functional.distance_matching import (
    NEIGHBOURS,
    TEMPERATURE,
    reference_vectors,
    vote_of_neighbours,
)
from luss_mm.functional.pixel_assignment import resize_nearest
from luss_mm.functional.pixel_attention import upsample_features
from luss_mm.models.preprocessors import ViewsPreprocessor
from luss_mm.pipeline.image_batches import (
    Arrays,
    ShardedBatches,
    join_arrays,
    write_label_maps,
)
from luss_mm.work_dir.artifact import FinishedShards, produce
from luss_mm.work_dir.atomic_files import write_array
from luss_mm.work_dir.run_folder import write_summary

DIRECTIONS = 'directions.npy'
CATEGORIES = 'categories.npy'
LABELS_USED = 'masks of the labelled images: references'


@dataclass(frozen=True)
class PixelFeatures:
    """What turns images into enlarged feature maps.

    Attributes:
        backbone: Yields a tuple of maps; put into eval mode.
        preprocessor: Normalises RGB images.
        in_index: Which output is the map.
        upsample: Factor by which it is enlarged.
    """

    backbone: nn.Module
    preprocessor: ViewsPreprocessor
    in_index: int = -1
    upsample: int = 4

    def __post_init__(self) -> None:
        """Batch norm and drop path as at inference."""
        self.backbone.eval()

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return next(self.backbone.parameters()).device

    def facts(self) -> dict[str, Any]:
        """What decides the features besides weights and images, for an artifact's key."""
        mean, std = (getattr(self.preprocessor, key).flatten().tolist() for key in ('mean', 'std'))
        return dict(in_index=self.in_index, upsample=self.upsample, mean=mean, std=std)

    @torch.inference_mode()
    def extract(self, samples: Sequence[Mapping[str, Any]]) -> Tensor:
        """Features (B, C, h, w) of samples of `PackImage` of one input size."""
        images = torch.stack([sample['inputs'] for sample in samples]).to(self.device)
        maps = self.backbone(self.preprocessor.normalize(images))
        return upsample_features(maps[self.in_index], self.upsample)


@dataclass(frozen=True)
class References:
    """Finished references, in the order of the images and of the categories in each.

    Attributes:
        directions: Unit rows, float32, memory-mapped. Shape (R, C).
        categories: int64. Shape (R,).
    """

    directions: np.ndarray
    categories: np.ndarray


def extract_references(
    directory: str | Path,
    extractor: PixelFeatures,
    batches: ShardedBatches,
    inputs: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> References:
    """Reference vectors of every labelled image, see `reference_vectors`.

    Also writes `summary.json`: images, references, and how many categories of images were too small
    for a cell of their feature map. Memory: the references, 8 bytes a channel while they are joined
    (ImageNet-S919, 2048 channels: about 0.3 GB), and one batch of feature maps.

    Args:
        directory: Directory of the output.
        extractor: Extractor of the features.
        batches: Over whole images; its data set is a `LUSSDataset` whose pipeline loads whole
            masks (`LoadLabelMap(match_image=False)`).
        inputs: Names to keys: the checkpoint and the data.
        settings: What else decides the references.

    Returns:
        The references, read back from disk.

    Raises:
        FileNotFoundError: If a mask is missing.
        ValueError: If a mask is none or does not fit its image.
    """
    ignored = batches.dataset.ignore_index

    def extract(shard_batches: Iterator[list[dict]], start: int, stop: int) -> Arrays:
        found: dict[int, tuple[Tensor, Tensor]] = {}
        lost = 0
        for batch in shard_batches:
            for sample, features in zip(batch, extractor.extract(batch), strict=True):
                mask = torch.as_tensor(sample['gt_seg_map'])  # (H, W)
                directions, categories = reference_vectors(features, mask, ignored)
                found[sample['index']] = directions.cpu(), categories.cpu()
                lost += int((mask.unique() != ignored).sum()) - len(categories)
        # Batches are in the order of sizes.
        directions, categories = zip(*(found[i] for i in range(start, stop)), strict=True)
        return dict(
            directions=torch.cat(directions).numpy(),
            categories=torch.cat(categories).numpy(),
            lost=np.array(lost),
        )

    def make(unfinished: Path) -> None:
        join = partial(_join_shards, unfinished, len(batches.dataset))
        join_arrays(unfinished, batches, 'references', extract, join)

    settings = dict(settings, **extractor.facts())
    path = produce(directory, make, inputs, settings, used_ground_truth=(LABELS_USED,))
    return load_references(path)


def load_references(directory: str | Path) -> References:
    """Memory-map finished references."""
    directions = np.load(Path(directory, DIRECTIONS), mmap_mode='r')
    return References(directions, np.load(Path(directory, CATEGORIES)))


def label_by_references(
    directory: str | Path,
    extractor: PixelFeatures,
    batches: ShardedBatches,
    references: References,
    inputs: Mapping[str, Any],
    settings: Mapping[str, Any],
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> Path:
    """Write the label map of every image by the vote of its pixels' nearest references.

    The vote is taken in every cell of the enlarged feature map; image pixels take the cell that
    they lie in. Memory: the references, one batch of feature maps and a chunk of the vote.

    Args:
        directory: Directory of the output, `<directory>/<relative path>.png`.
        extractor: That of the references.
        batches: Over whole images; its data set is a `LUSSDataset`.
        references: References from `extract_references`.
        inputs: Names to keys: the references and the images.
        settings: What else decides the label maps.
        neighbours: References that vote for a pixel.
        temperature: Temperature of the votes.

    Returns:
        The directory.
    """
    directions = torch.from_numpy(np.array(references.directions)).to(extractor.device)
    categories = torch.from_numpy(references.categories).to(extractor.device)

    def label(batch: list[dict]) -> Iterator[tuple[dict, np.ndarray, Counter]]:
        features = extractor.extract(batch)  # (B, C, h, w)
        labels = vote_of_neighbours(features, directions, categories, neighbours, temperature)
        for sample, image_labels in zip(batch, labels.cpu(), strict=True):
            full = resize_nearest(image_labels, sample['ori_shape'])  # (H, W)
            yield sample, full.numpy(), Counter()

    def make(unfinished: Path) -> None:
        write_label_maps(FinishedShards(unfinished), batches, 'distance matching', label)

    settings = dict(settings, neighbours=neighbours, temperature=temperature, **extractor.facts())
    return produce(directory, make, inputs, settings, used_ground_truth=(LABELS_USED,))


def _join_shards(directory: Path, images: int, shards: Iterator[Arrays]) -> list[Path]:
    """Copy all shards into two files."""
    shards = list(shards)
    categories = np.concatenate([shard['categories'] for shard in shards])
    summary = dict(
        images=images,
        references=len(categories),
        categories=len(np.unique(categories)),
        too_small_for_a_cell=sum(int(shard['lost']) for shard in shards),
    )
    print_log(f'references: {summary}', logger='current')
    write_summary(directory, summary)
    write_array(directory / CATEGORIES, categories)
    directions = np.concatenate([shard['directions'] for shard in shards])
    write_array(directory / DIRECTIONS, directions)
    return [directory / CATEGORIES, directory / DIRECTIONS]
