"""Which categories an image has, as weak labels."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from luss_mm.datasets.label_map_file import IGNORE_INDEX


@TRANSFORMS.register_module()
class SetImageTags(BaseTransform):
    """Sets the ids of an image: those that its data set gives, else those of its whole mask.

    Comes right after the mask is loaded: before cropping, and before `MarkValidPixels`.

    Args:
        background: Whether id 0 is a class, which every image then has.
        ignore_index: Id of pixels that do not count.

    Sets:
        image_tags: Sorted tuple of ids.

    Raises:
        KeyError: If there are neither tags nor a mask.
        ValueError: If `MarkValidPixels` came before, or there is no tag at all.
    """

    def __init__(self, background: bool = True, ignore_index: int = IGNORE_INDEX) -> None:
        self.background = background
        self.ignore_index = ignore_index

    def transform(self, results: dict) -> dict:
        """Set the tags of one image."""
        given = results.get('image_tags')
        ids = set(self._ids_of_mask(results) if given is None else given)
        if self.background:
            ids.add(0)
        if not ids:
            raise ValueError(f'{results["img_path"]}: its mask has no category')
        results['image_tags'] = tuple(sorted(ids))
        return results

    def _ids_of_mask(self, results: dict) -> list[int]:
        if 'gt_seg_map' not in results:
            raise KeyError(
                f'{results["img_path"]} has neither tags nor a mask: set tags of its data set, or '
                'load its mask before SetImageTags'
            )
        if 'has_mask' in results:
            raise ValueError('SetImageTags reads whole masks: put it before MarkValidPixels')
        ids = np.unique(results['gt_seg_map']).tolist()
        return [i for i in ids if i != self.ignore_index]
