"""Several views of one image, packed for a batch whose samples may have different views."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose
from mmengine.registry import FUNCTIONS
from mmseg.datasets.transforms import PackSegInputs
from mmseg.registry import TRANSFORMS

META_KEYS = (
    'img_path',
    'seg_map_path',
    'ori_shape',
    'img_shape',
    'flip',
    'flip_direction',
    'has_mask',
    'image_tags',
    'cutmix_box',
)


@TRANSFORMS.register_module()
class PackViews(BaseTransform):
    """Makes views of an image and packs them; the last transform of a training pipeline.

    Args:
        views: Name of each view and its transforms, which see a copy of their own.
        meta_keys: Of the results, kept in a data sample's metainfo where they are there.

    Sets (and drops everything else):
        inputs: {view: uint8 BGR tensor (3, h, w)}.
        data_samples: {view: SegDataSample with gt_sem_seg int64 (1, h, w)}.

    Raises:
        ValueError: If there is no view.
        KeyError: If an image without a mask did not go through `MarkValidPixels`.
    """

    def __init__(
        self,
        views: Mapping[str, Sequence[dict | None]],
        meta_keys: Sequence[str] = META_KEYS,
    ) -> None:
        if not views:
            raise ValueError('PackViews needs at least one view')
        self.views = {name: Compose(list(transforms)) for name, transforms in views.items()}
        self.packing = PackSegInputs(meta_keys=tuple(meta_keys))

    def transform(self, results: dict) -> dict | None:
        """Make and pack the views; None where a transform gives up on the image."""
        self._refuse_unmarked(results)
        results.setdefault('has_mask', True)
        inputs, samples = {}, {}
        for name, transforms in self.views.items():
            view = transforms(copy.deepcopy(results))
            if view is None:
                return None
            packed = self.packing(view)
            inputs[name], samples[name] = packed['inputs'], packed['data_samples']
        return dict(inputs=inputs, data_samples=samples)

    @staticmethod
    def _refuse_unmarked(results: dict) -> None:
        unmarked = 'gt_seg_map' not in results
        if unmarked or (results.get('mask_is_hidden') and results.get('has_mask', True)):
            raise KeyError(
                f'{results.get("img_path")} has no mask to train on: put MarkValidPixels before '
                'PackViews'
            )


@FUNCTIONS.register_module()
def collate_views(batch: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, list]]:
    """Lists of the images and data samples of each view, in the order of the samples.

    Args:
        batch: What `PackViews` returns, of any views.

    Returns:
        `inputs`: {view: list of uint8 (3, h, w)}, `data_samples`: {view: list}.
    """
    collated: dict[str, dict[str, list]] = dict(inputs={}, data_samples={})
    for sample in batch:
        for key, views in collated.items():
            for name, value in sample[key].items():
                views.setdefault(name, []).append(value)
    return collated
