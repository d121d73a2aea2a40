"""Segmentation into up to a thousand categories in bounded memory."""

from collections.abc import Sequence

import torch
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F

from luss_mm.functional.pixel_assignment import resize_argmax

FLIP_AXES = {'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}


@MODELS.register_module()
class LUSSSegmentor(EncoderDecoder):
    """mmseg's EncoderDecoder with a loss at reduced resolution and chunked argmax at inference.

    Inference keeps the low-resolution logits and one full-size label map, never K full-size maps,
    so the data samples carry `pred_sem_seg` but no `seg_logits`.

    Args:
        *args: As `EncoderDecoder`.
        loss_stride: The loss is taken at every loss_stride-th pixel of the label map.
        max_argmax_pixels: Images with more pixels than this are decided at a longest side of
            `max_argmax_side` and enlarged by nearest neighbour.
        max_argmax_side: See above.
        **kwargs: As `EncoderDecoder`.

    Raises:
        ValueError: If `test_cfg.mode` is 'slide', which keeps all full-size logits, or the decode
            head resizes with `align_corners=True`.
    """

    def __init__(
        self,
        *args: object,
        loss_stride: int = 2,
        max_argmax_pixels: int = 1000 * 1000,
        max_argmax_side: int = 1000,
        **kwargs: object,
    ) -> None:
        super().__init__(*args, **kwargs)
        if self.test_cfg is not None and self.test_cfg.get('mode', 'whole') != 'whole':
            raise ValueError(
                "LUSSSegmentor predicts whole images: set test_cfg=dict(mode='whole') or use "
                "mmseg's EncoderDecoder for sliding windows"
            )
        if self.align_corners:
            raise ValueError(
                'LUSSSegmentor resizes logits with align_corners=False: set it in the decode head'
            )
        self.loss_stride = loss_stride
        self.max_argmax_pixels = max_argmax_pixels
        self.max_argmax_side = max_argmax_side

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Losses at the reduced resolution; see `EncoderDecoder.loss`."""
        return super().loss(inputs, [self._thin_label(sample) for sample in data_samples])

    def _thin_label(self, sample: SegDataSample) -> SegDataSample:
        labels = sample.gt_sem_seg.data[:, :: self.loss_stride, :: self.loss_stride]
        return SegDataSample(metainfo=sample.metainfo, gt_sem_seg=PixelData(data=labels))

    @torch.no_grad()
    def predict(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Label maps at each image's original size.

        Args:
            inputs: Normalised images. Shape (B, 3, H, W).
            data_samples: With `ori_shape` and, where padded, `img_padding_size` and `img_shape`.

        Returns:
            The data samples with `pred_sem_seg`, int64 of shape (1, ori_H, ori_W).
        """
        logits = self.decode_head(self.extract_feat(inputs))  # (B, K + 1, h, w)
        if data_samples is None:
            data_samples = [
                SegDataSample(metainfo=dict(ori_shape=tuple(inputs.shape[2:]))) for _ in inputs
            ]
        for sample, sample_logits in zip(data_samples, logits, strict=True):
            meta = sample.metainfo
            labels = self._decide(sample_logits[None], meta, inputs.shape[2:])
            if meta.get('flip', False):
                labels = labels.flip(FLIP_AXES[meta.get('flip_direction', 'horizontal')])
            sample.set_data(dict(pred_sem_seg=PixelData(data=labels)))
        return data_samples

    def _decide(self, logits: Tensor, meta: dict, input_size: torch.Size) -> Tensor:
        """Label map (1, H, W) of an image's logits (1, K + 1, h, w)."""
        height, width = size = tuple(meta['ori_shape'][:2])
        padding = meta.get('img_padding_size', meta.get('padding_size', (0,) * 4))
        if height * width <= self.max_argmax_pixels:
            return _argmax_without_padding(logits, size, padding, input_size)
        shrink = self.max_argmax_side / max(size)
        small = (max(1, round(height * shrink)), max(1, round(width * shrink)))
        labels = _argmax_without_padding(logits, small, padding, input_size)
        # ids up to 2^24 are exact in float32
        return F.interpolate(labels[:, None].float(), size, mode='nearest')[:, 0].long()


def _argmax_without_padding(
    logits: Tensor, size: tuple[int, int], padding: Sequence[int], input_size: torch.Size
) -> Tensor:
    """Label map of `size` (H, W) of the image that lies in a padded input; see `_axis_window`."""
    left, right, top, bottom = padding
    rows, down, visible_rows = _axis_window(logits.shape[2], input_size[0], top, bottom, size[0])
    columns, across, visible_columns = _axis_window(
        logits.shape[3], input_size[1], left, right, size[1]
    )
    labels = resize_argmax(logits[:, :, rows, columns], (down, across))
    return labels[:, visible_rows, visible_columns]


def _axis_window(
    cells: int, pixels: int, before: int, after: int, size: int
) -> tuple[slice, int, slice]:
    """Where one axis of a padded image lies in its feature map.

    Cells that saw a part of the image stay whole, so that the image keeps its scale: they are
    resized to more than `size`, and the image is cut out of that.

    Args:
        cells: Length of the feature map.
        pixels: Length of the padded input.
        before: Padded pixels before the image.
        after: Padded pixels after it.
        size: Wanted length of the image.

    Returns:
        The cells that saw the image, the length to resize them to and the image's part of that.
    """
    first = before * cells // pixels
    last = -(-(pixels - after) * cells // pixels)  # rounded up
    scale = size / (pixels - before - after)  # of an input pixel
    length = round((last - first) * pixels / cells * scale)
    start = int((before - first * pixels / cells) * scale)
    return slice(first, last), length, slice(start, start + size)
