"""Made-up images and batches of a stage, for what is tried before a run has made anything."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import FUNCTIONS
from mmseg.registry import MODELS
from torch import nn

from luss_mm.datasets.transforms.resizing import short_side_size


def draw_made_up_samples(
    loader: Mapping[str, Any], count: int, image_size: tuple[int, int]
) -> tuple[list[Any], float]:
    """Samples of a data loader's transforms from made-up images, and seconds that one takes.

    Reading a file is not in it. The quickest counts, so two or more tell more than one.

    Raises:
        ValueError: If the data set is one of several, such as `SemiDataset`.
    """
    pipeline = loader['dataset'].get('pipeline')
    if pipeline is None:
        raise ValueError(f'{loader["dataset"]["type"]} has no pipeline of its own to try')
    steps = [made_up_labels if 'LabelMap' in t['type'] else t for t in pipeline]
    transforms = Compose([s for s in steps if callable(s) or not s['type'].startswith('Load')])
    by_type = {t['type']: t for t in pipeline}
    samples, seconds = [], []
    for index in range(count):
        image = made_up_image(index, image_size)
        if 'LoadCachedMaps' in by_type:
            image |= made_up_maps(by_type['LoadCachedMaps'], image_size)
        started = time.process_time()
        samples.append(transforms(image))
        seconds.append(time.process_time() - started)
    return samples, min(seconds)  # the first one also sets things up


def made_up_image(index: int, size: tuple[int, int]) -> dict[str, Any]:
    """What the loading transforms would say of an image file of noise."""
    image = np.random.default_rng(index).integers(0, 256, (*size, 3), dtype=np.uint8)
    return dict(
        img=image,
        img_shape=size,
        ori_shape=size,
        img_path='made-up.JPEG',
        sample_idx=index,
        class_label=0,
        seg_fields=[],
    )


def made_up_labels(results: dict[str, Any]) -> dict[str, Any]:
    """What loading a label map would add to an image."""
    labels = np.zeros(results['img_shape'], dtype=np.int32)
    loaded = dict(gt_seg_map=labels, seg_fields=['gt_seg_map'], seg_map_path='made-up.png')
    return results | loaded


def made_up_maps(loading: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """What `LoadCachedMaps` would say of an image file, with maps of zeros.

    Args:
        loading: Config of the transform.
        size: Height and width of the file.
    """
    width, height = short_side_size(size[1], size[0], loading['side'])
    shapes = [
        (channels, -(-height // stride), -(-width // stride))
        for channels, stride in zip(loading['channels'], loading['strides'], strict=True)
    ]
    maps = [np.zeros(shape, dtype=np.float16) for shape in shapes]
    return dict(maps=maps, img_shape=(height, width))


def collate(loader: Mapping[str, Any], samples: Sequence[Any]) -> Any:
    """A batch, as the stage's data loader makes it."""
    kind = (loader.get('collate_fn') or dict(type='pseudo_collate'))['type']
    return FUNCTIONS.get(kind)(samples)


def build_model(config: Mapping[str, Any], device: str) -> nn.Module:
    """A model in training mode, with batch norm that does not wait for other ranks."""
    return revert_sync_batchnorm(MODELS.build(dict(config))).to(device).train()
