"""The foreground of a predicted label map, moved to the edges of colour in its image."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.model import ImgDataPreprocessor
from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from luss_mm.functional.mask_prompts import (
    ForegroundScore,
    MaskPrompt,
    component_boxes,
    prompts_with_score,
)
from luss_mm.functional.pixel_assignment import foreground_probability, resize_score
from luss_mm.models.label_decision import FLIP_AXES, padding_of, resize_without_padding

# Probabilities that are surely background, foreground and surely object.
BOUNDS = (0.1, 0.5, 0.9)


class ForegroundRefiner:
    """Asks a segmenter where the foreground of an image is, prompted by a network's logits.

    The foreground probability is one minus the softmax probability of id 0. Everything happens at
    the size of the network's input or at the segmenter's `whole_image_side`, whichever is smaller;
    the mask is then enlarged bilinearly, so that large images cost no more than small ones.

    Args:
        segmenter: Config of a segmenter in mmseg's MODELS.
        preprocessor: Of the network; undone to get the image back.

    Raises:
        ValueError: If the preprocessor does not tell how it normalises images.
    """

    def __init__(self, segmenter: Mapping[str, Any], preprocessor: ImgDataPreprocessor) -> None:
        if not isinstance(preprocessor, ImgDataPreprocessor):
            raise ValueError(
                'refining predictions needs a data_preprocessor with the mean and std of the '
                f'images, such as SegDataPreProcessor, not {type(preprocessor).__name__}'
            )
        self.segmenter = MODELS.build(dict(segmenter))
        self.preprocessor = preprocessor

    @property
    def name(self) -> str:
        """Type of the segmenter, which results made with it are marked with."""
        return type(self.segmenter).__name__

    @torch.no_grad()
    def foreground(self, logits: Tensor, image: Tensor, meta: Mapping[str, Any]) -> Tensor:
        """Where an image shows an object.

        Args:
            logits: Of one image, at any resolution. Shape (K + 1, h, w).
            image: The network's input, normalised and perhaps padded. Shape (3, H, W).
            meta: As in `decide_label_map`.

        Returns:
            Mask at the size of the image's file, without padding and flip. bool (ori_H, ori_W).
        """
        pixels = self._pixels(image, meta)  # (h', w', 3)
        probability = resize_without_padding(
            foreground_probability(logits)[None],
            pixels.shape[:2],
            padding_of(meta),
            image.shape[1:],
            resize_score,
        )  # (1, h', w')
        if meta.get('flip', False):
            axes = FLIP_AXES[meta.get('flip_direction', 'horizontal')]
            probability = probability.flip(axes)
            pixels = np.ascontiguousarray(np.flip(pixels, [axis - 1 for axis in axes]))
        mask = self._segment(pixels, probability[0].cpu().numpy())
        mask = torch.from_numpy(mask).to(logits.device, torch.float32)[None, None]
        return F.interpolate(mask, tuple(meta['ori_shape'][:2]), mode='bilinear')[0, 0] > 0.5

    def _segment(self, pixels: np.ndarray, probability: np.ndarray) -> np.ndarray:
        low, threshold, high = BOUNDS
        region = probability >= threshold
        if not region.any():
            return region
        prompts = prompts_with_score(
            [MaskPrompt(1, component_boxes(region), None, region)],
            ForegroundScore(probability, low, threshold, high),
        )
        self.segmenter.to(self.preprocessor.device)
        return self.segmenter.segment(self.segmenter.encode([pixels])[0], prompts)[0]

    def _pixels(self, image: Tensor, meta: Mapping[str, Any]) -> np.ndarray:
        """The image before it was normalised and padded, shrunk, RGB uint8 (h, w, 3)."""
        left, right, top, bottom = padding_of(meta)
        image = image[:, top : image.shape[1] - bottom, left : image.shape[2] - right].float()
        if self.preprocessor._enable_normalize:
            image = image * self.preprocessor.std + self.preprocessor.mean
        if not self.preprocessor._channel_conversion:  # still as OpenCV reads it
            image = image.flip(0)
        pixels = image.round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
        height, width = pixels.shape[:2]
        scale = min(1.0, self.segmenter.whole_image_side / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
