"""What SAM prompt optimisation asks of a segmenter."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from luss_mm.functional.mask_prompts import MaskPrompt


class SegmenterError(ValueError):
    """A segmenter cannot work as it is configured, or has failed on an image."""


class PromptableSegmenter(ABC):
    """Turns prompts (boxes, a point, a coarse region) into masks.

    Constructing one is cheap; weights are read when the first image is encoded. Another network
    (SAM 2, MobileSAM) is another class with these methods, registered in mmseg's MODELS.

    Attributes:
        used_sam: Whether masks drawn by people trained it: results made with it are marked.
        whole_image_side: Longer side in pixels at which it works on a whole image at most.
        knows_objects: Whether it has features of an image and finds all objects without a prompt:
            `similarity` and `segment_everything` (see `SAMSegmenter`).
    """

    used_sam: bool
    whole_image_side: int
    knows_objects = False

    @abstractmethod
    def check(self) -> None:
        """Refuse what would fail later; cheap, so that it can run before a long training.

        Raises:
            SegmenterError: If a package or a checkpoint is missing or wrong.
        """

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What decides the masks, JSON-like: type, parameters, hashes of files.

        Raises:
            SegmenterError: If a file that it needs is missing.
        """

    @abstractmethod
    def encode(self, images: Sequence[np.ndarray]) -> list[Any]:
        """Do once what all prompts of an image share.

        Args:
            images: RGB, of any sizes. uint8 (H, W, 3) each.

        Returns:
            One an image, for `segment` only.

        Raises:
            ValueError: If an image is not RGB uint8.
            SegmenterError: If the segmenter cannot work.
        """

    @abstractmethod
    def segment(self, encoded: Any, prompts: Sequence[MaskPrompt]) -> list[np.ndarray]:
        """Masks of the prompts of one image.

        Args:
            encoded: The image's, of `encode`.
            prompts: Prompts of the same image; a prompt without boxes gets an empty mask.

        Returns:
            For each prompt the union over its boxes of the mask of each box, bool (H, W). One that
            looks at the score may find a mask anywhere in the image.

        Raises:
            ValueError: If a prompt's region or score is not of the image's size.
        """

    def to(self, device: torch.device | str) -> 'PromptableSegmenter':
        """Move to a device; one without weights stays where it is."""
        return self


def point_in_box(point: tuple[int, int] | None, box: np.ndarray) -> tuple[int, int] | None:
    """The point if it lies in the box x0, y0, x1, y1 (inclusive).

    A class has one point and a box for every component: the point says nothing about the others.
    """
    if point is None:
        return None
    x, y = point
    return point if box[0] <= x <= box[2] and box[1] <= y <= box[3] else None
