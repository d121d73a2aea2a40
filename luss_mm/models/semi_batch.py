"""What the data samples of one view say, as tensors of the batch."""

from collections.abc import Sequence

import torch
from mmseg.structures import SegDataSample
from torch import Tensor


def stack_labels(samples: Sequence[SegDataSample]) -> Tensor:
    """Label maps, where an unlabelled image has 0 at its valid pixels.

    Args:
        samples: With gt_sem_seg (1, H, W), all of one size.

    Returns:
        Ids, int64. Shape (B, H, W).
    """
    return torch.cat([sample.gt_sem_seg.data for sample in samples]).long()


def stack_tags(samples: Sequence[SegDataSample], num_classes: int) -> Tensor:
    """Which classes each image has.

    Args:
        samples: With `image_tags` in their metainfo, see `SetImageTags`.
        num_classes: C, background included where the data set has one.

    Returns:
        True at the ids of the image's tags. Shape (B, C).

    Raises:
        KeyError: If a sample has no tags.
        ValueError: If a tag has no class.
    """
    tags = torch.zeros(len(samples), num_classes, dtype=torch.bool)
    for row, sample in zip(tags, samples, strict=True):
        ids = sample.metainfo.get('image_tags')
        if ids is None:
            raise KeyError(
                f'{_image(sample)} has no image tags: add SetImageTags to the pipeline and '
                "'image_tags' to meta_keys"
            )
        if any(not 0 <= i < num_classes for i in ids):
            raise ValueError(
                f'{_image(sample)}: the image tags {tuple(ids)} do not lie in 0..{num_classes - 1}'
            )
        row[list(ids)] = True
    return tags.to(_device(samples))


def stack_has_mask(samples: Sequence[SegDataSample]) -> Tensor:
    """Which images have a mask.

    Args:
        samples: With `has_mask` in their metainfo, see `PackViews`.

    Returns:
        bool. Shape (B,).
    """
    has_mask = [bool(sample.metainfo['has_mask']) for sample in samples]
    return torch.tensor(has_mask, dtype=torch.bool, device=_device(samples))


def stack_boxes(samples: Sequence[SegDataSample]) -> Tensor:
    """Boxes for CutMix.

    Args:
        samples: With `cutmix_box` in their metainfo, see `DrawCutMixBox`.

    Returns:
        left, top, width, height in pixels, int64; zeros where there is no box. Shape (B, 4).

    Raises:
        KeyError: If no box was drawn for a sample, not even None.
    """
    boxes = []
    for sample in samples:
        if 'cutmix_box' not in sample.metainfo:
            raise KeyError(
                f'{_image(sample)} has no cutmix_box: add DrawCutMixBox to the transforms of this '
                "view and 'cutmix_box' to meta_keys"
            )
        boxes.append(sample.metainfo['cutmix_box'] or (0, 0, 0, 0))
    return torch.tensor(boxes, dtype=torch.int64, device=_device(samples)).view(-1, 4)


def _image(sample: SegDataSample) -> str:
    return sample.metainfo.get('img_path', 'an image')


def _device(samples: Sequence[SegDataSample]) -> torch.device:
    """Where the label maps lie, hence the batch."""
    if samples and 'gt_sem_seg' in samples[0]:
        return samples[0].gt_sem_seg.data.device
    return torch.device('cpu')
