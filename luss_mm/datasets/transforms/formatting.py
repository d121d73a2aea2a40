"""Images and views as models take them."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose
from mmengine.registry import FUNCTIONS
from mmseg.datasets.transforms import PackSegInputs
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackImage(BaseTransform):
    """Keeps what feature extraction and label generation need, and nothing else.

    Sets:
        inputs: uint8 RGB tensor (3, h, w). index: of the sample. ori_shape: (H, W) of the file.
        class_label, gt_seg_map, loaded_image: where an earlier step set them.
    """

    OPTIONAL = ('class_label', 'gt_seg_map', 'loaded_image')

    def transform(self, results: dict) -> dict:
        """Pack results['img'] (BGR)."""
        rgb = np.ascontiguousarray(results['img'][..., ::-1].transpose(2, 0, 1))
        packed = dict(
            inputs=torch.from_numpy(rgb),
            index=results['sample_idx'],
            ori_shape=tuple(results['ori_shape']),
        )
        return packed | {key: results[key] for key in self.OPTIONAL if key in results}


@TRANSFORMS.register_module()
class KeepLoadedImage(BaseTransform):
    """Keeps the image as it is now, before it is resized, for a segmenter that works on pixels.

    Sets:
        loaded_image: uint8 RGB tensor (H, W, 3).
    """

    def transform(self, results: dict) -> dict:
        """Copy results['img'] (BGR)."""
        rgb = np.ascontiguousarray(results['img'][..., ::-1])
        results['loaded_image'] = torch.from_numpy(rgb)
        return results


@TRANSFORMS.register_module()
class MarkValidPixels(BaseTransform):
    """Gives an image without a mask a label map of zeros; comes after loading, before cropping.

    Geometric transforms move it along and pad it with the ignore index, so that padding never
    counts in a loss. A mask that was read for image tags alone is replaced as well.

    Sets:
        has_mask: Whether the image came with a mask to train on.
        gt_seg_map: Where it did not, zeros, int32 (h, w). seg_fields: with 'gt_seg_map'.
    """

    def transform(self, results: dict) -> dict:
        """Mark one image."""
        results['has_mask'] = 'gt_seg_map' in results and not results.get('mask_is_hidden', False)
        if not results['has_mask']:
            results['gt_seg_map'] = np.zeros(results['img'].shape[:2], dtype=np.int32)
            fields = results.setdefault('seg_fields', [])
            if 'gt_seg_map' not in fields:
                fields.append('gt_seg_map')
        return results


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
        meta_keys: Keys of the results, kept in a data sample's metainfo where they are there.

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
