"""Masks of VOC, Cityscapes and COCO: one channel that holds the ids."""

import numpy as np
from mmseg.registry import TRANSFORMS
from PIL import Image

from luss_mm.datasets.label_map_file import IGNORE_INDEX
from luss_mm.datasets.transforms.loading import LoadLabelMap


@TRANSFORMS.register_module()
class LoadIndexedLabelMap(LoadLabelMap):
    """Reads a palette or grey PNG as integer ids.

    An image without a mask passes unchanged, for `MarkValidPixels` to fill in.

    Args:
        void: Value in the file of pixels that do not count; None if there is none.
        ignore_index: Id that they get.
        match_image: As `LoadLabelMap`.

    Sets:
        gt_seg_map: int32 ids, shape (h, w). seg_fields: with 'gt_seg_map'.
    """

    def __init__(
        self, void: int | None = 255, ignore_index: int = IGNORE_INDEX, match_image: bool = True
    ) -> None:
        super().__init__(match_image)
        self.void = void
        self.ignore_index = ignore_index

    def transform(self, results: dict) -> dict:
        """Load the label map at results['seg_map_path'], if there is one."""
        return super().transform(results) if 'seg_map_path' in results else results

    def read(self, path: str) -> np.ndarray:
        """Ids of a file, int32. Shape (H, W).

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not an 8-bit image of one channel.
        """
        try:
            with Image.open(path) as image:
                if image.mode not in ('P', 'L'):
                    raise ValueError(
                        f'{path}: an image of mode {image.mode}; ids are read from an 8-bit '
                        'palette or grey PNG. An ImageNet-S mask needs LoadLabelMap.'
                    )
                labels = np.asarray(image).astype(np.int32)
        except FileNotFoundError as error:
            raise FileNotFoundError(f'{path}: no such mask.') from error
        except (OSError, SyntaxError) as error:
            raise ValueError(f'{path}: not a readable mask ({error}).') from error
        if self.void is not None:
            labels[labels == self.void] = self.ignore_index
        return labels
