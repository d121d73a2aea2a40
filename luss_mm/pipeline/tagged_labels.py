"""Label maps of images with tags: masks where there are any, else what a trained network says."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.utils.data import Dataset

from luss_mm.datasets.semi_dataset import SemiDataset
from luss_mm.functional.pixel_assignment import argmax_of_average
from luss_mm.pipeline.generate_labels import sum_outcomes
from luss_mm.pipeline.image_batches import ShardedBatches, write_label_maps
from luss_mm.work_dir.artifact import FinishedShards, produce

TAGGED_LABELS = 'tagged_labels'
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5)  # the range is the authors', the steps are ours
AVERAGES = (PROBABILITIES, LOGITS) = ('probabilities', 'logits')
LABELS_USED = (
    'masks of the labelled images: copied into the label maps',
    'image tags of the tagged images: label maps',
)


@dataclass(frozen=True)
class TaggedLabeller:
    """Labels images with the most likely of their tags, averaged over scales and flip.

    Only the channels of the image's tags are ever resized to the size of the image.

    Attributes:
        network: In eval mode.
        preprocessor: Normalises images as the network was trained with.
        scales: Scales of the network's input, relative to the loaded image.
        flip: Whether every scale is also seen mirrored.
        average: 'probabilities': softmax over the image's tags (which the class-aware cross entropy
            trains) at the resolution of each view's logits. 'logits': as they are, which is what
            the authors average.
    """

    network: EncoderDecoder
    preprocessor: SegDataPreProcessor
    scales: Sequence[float] = SCALES
    flip: bool = True
    average: str = 'probabilities'

    def __post_init__(self) -> None:
        """Refuse scales that no view can have, and what cannot be averaged."""
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f'scales={list(self.scales)}: at least one, all of them positive')
        if self.average not in AVERAGES:
            raise ValueError(f'average is one of {", ".join(AVERAGES)}, not {self.average!r}')

    @torch.inference_mode()
    def label(self, images: Sequence[Tensor], samples: Sequence[SegDataSample]) -> list[np.ndarray]:
        """Label maps at the size of each image's file.

        Args:
            images: uint8 BGR, of one size. Shape (3, h, w) each.
            samples: Their `image_tags` and `ori_shape`.

        Returns:
            Ids among the image's tags, int64 (ori_H, ori_W) each.

        Raises:
            ValueError: If an image has no tag, or one that the network has no class for.
        """
        normalised = self._normalise(images)
        tags = [self._tags_of(sample).to(normalised.device) for sample in samples]
        views: list[list[Tensor]] = [[] for _ in samples]
        for logits in self._logits_of_views(normalised):
            for image_views, image_logits, ids in zip(views, logits, tags, strict=True):
                maps = image_logits[ids].float()  # (T, h_v, w_v)
                image_views.append(maps.softmax(dim=0) if self.average == PROBABILITIES else maps)
        align = self.network.align_corners
        return [
            ids[argmax_of_average(image_views, tuple(sample.ori_shape), align_corners=align)]
            .cpu()
            .numpy()
            for ids, image_views, sample in zip(tags, views, samples, strict=True)
        ]

    def _normalise(self, images: Sequence[Tensor]) -> Tensor:
        """Without the padding that the preprocessor may add. Shape (B, 3, h, w)."""
        batch = dict(inputs=list(images), data_samples=[SegDataSample() for _ in images])
        height, width = images[0].shape[1:]
        return self.preprocessor(batch, training=False)['inputs'][:, :, :height, :width]

    def _logits_of_views(self, images: Tensor) -> Iterator[Tensor]:
        """Logits of each view in the orientation of the image. Shape (B, K, h_v, w_v)."""
        for scale in self.scales:
            size = [max(1, round(side * scale)) for side in images.shape[2:]]
            view = F.interpolate(images, size, mode='bilinear', align_corners=False)
            yield self._logits(view)
            if self.flip:
                yield self._logits(view.flip(-1)).flip(-1)

    def _logits(self, images: Tensor) -> Tensor:
        return self.network.decode_head(self.network.extract_feat(images))

    def _tags_of(self, sample: SegDataSample) -> Tensor:
        name = sample.metainfo.get('img_path', 'an image')
        tags = sample.metainfo.get('image_tags')
        if not tags:
            raise ValueError(f'{name}: has no image tags. Add SetImageTags to its pipeline.')
        num_classes = self.network.decode_head.num_classes
        if not 0 <= min(tags) <= max(tags) < num_classes:
            raise ValueError(f'{name}: its tags {tuple(tags)} must lie in 0..{num_classes - 1}')
        return torch.tensor(sorted(set(tags)))


class NumberedImages(Dataset):
    """A SemiDataset whose samples know their number and whether another image stands for them.

    Args:
        dataset: Its samples have `inputs` (3, h, w) and a data sample with `ori_shape` and either a
            mask of that size or `image_tags`.
    """

    def __init__(self, dataset: SemiDataset) -> None:
        self.dataset = dataset
        self._with_mask = {dataset.relative_path(i) for i in range(dataset.num_labelled)}

    def __len__(self) -> int:
        """Number of images, labelled ones first."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        """Sample with its `index`."""
        return dict(self.dataset[index], index=int(index))

    def relative_path(self, index: int) -> str:
        """Path of an image relative to its image folder."""
        return self.dataset.relative_path(index)

    def label_map_name(self, index: int) -> str:
        """Relative path of the label map that is made of an image."""
        return self.dataset.label_map_name(index)

    def is_labelled_elsewhere(self, index: int) -> bool:
        """Whether this is an unlabelled image of the name of a labelled one."""
        unlabelled = index >= self.dataset.num_labelled
        return unlabelled and self.relative_path(index) in self._with_mask


def generate_tagged_labels(
    directory: str | Path,
    labeller: TaggedLabeller,
    batches: ShardedBatches,
    inputs: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> Path:
    """Write a label map for every image of a data set: `<directory>/<label_map_name>`.

    An image with a mask gets the mask itself. Of a labelled and an unlabelled image with one
    relative path the labelled one counts: `train-semi` may hold copies of images of `train`. Also
    writes `outcomes.json`. Memory: one batch of logits and a few full-size maps. Disk: one PNG an
    image.

    Args:
        directory: Directory of the output.
        labeller: Its network is in eval mode.
        batches: Over `NumberedImages`.
        inputs: Names to keys: checkpoint, data.
        settings: What else decides the label maps.

    Returns:
        The directory.
    """

    def label(batch: list[dict]) -> Iterator[tuple[dict, np.ndarray, Counter]]:
        batch = [s for s in batch if not batches.dataset.is_labelled_elsewhere(s['index'])]
        for sample, labels in _label_batch(labeller, batch):
            yield sample, labels, _count_outcome(sample['data_samples'], labels)

    def make(unfinished: Path) -> None:
        finished = FinishedShards(unfinished)
        write_label_maps(finished, batches, 'label maps', label)
        sum_outcomes(finished, len(batches))

    views = dict(scales=list(labeller.scales), flip=labeller.flip)
    if labeller.average != PROBABILITIES:  # finished label maps of them do not name it
        views['average'] = labeller.average
    return produce(directory, make, inputs, dict(settings, **views), used_ground_truth=LABELS_USED)


def _label_batch(
    labeller: TaggedLabeller, batch: Sequence[dict]
) -> Iterator[tuple[dict, np.ndarray]]:
    """Samples and label maps: first the masks, then what the network says."""
    masked = [sample for sample in batch if has_mask(sample['data_samples'])]
    for sample in masked:
        yield sample, mask_of(sample['data_samples'])
    if tagged := [sample for sample in batch if not has_mask(sample['data_samples'])]:
        images, samples = zip(*((s['inputs'], s['data_samples']) for s in tagged), strict=True)
        yield from zip(tagged, labeller.label(images, samples), strict=True)


def has_mask(sample: SegDataSample) -> bool:
    """Whether a sample has a mask; `MarkValidPixels` leaves a label map that is none."""
    return 'gt_sem_seg' in sample and sample.metainfo.get('has_mask', True)


def mask_of(sample: SegDataSample) -> np.ndarray:
    """Mask of a sample as it is in the file, int64 (ori_H, ori_W).

    Raises:
        ValueError: If the pipeline has resized it.
    """
    mask = sample.gt_sem_seg.data[0].numpy()
    if mask.shape != tuple(sample.ori_shape):
        raise ValueError(
            f'{sample.img_path}: the mask came as {mask.shape}, the image is '
            f'{tuple(sample.ori_shape)}. Load the mask after the resizing, with match_image=False.'
        )
    return mask


def _count_outcome(sample: SegDataSample, labels: np.ndarray) -> Counter[str]:
    if has_mask(sample):
        return Counter({'masks copied': 1})
    shown = len(np.unique(labels))
    tags = len(set(sample.image_tags))
    return Counter({'images labelled': 1, 'tags shown': shown, 'tags without pixel': tags - shown})
