"""The steps of memory.py that run a network over all images: a small one with random weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RECIPE = Path(__file__).parents[2] / 'configs' / 'luss' / 'pass_tiny.py'
SIZES = {'backbone.base_channels': 8, 'backbone.stem_channels': 8, 'feature_channels': 32}
CATEGORIES = 7
SIDE = 64
BATCH = 16


def embed(folder: Path, size: int) -> Callable[[], object]:
    """Features as `ClusterHook` has them made."""
    from luss_mm.pipeline.features import extract_features

    inference, batches = attended_inference(), image_batches(folder)
    return lambda: extract_features(folder / f'features_{size}', inference, batches, {}, {})


def label(folder: Path, size: int) -> Callable[[], object]:
    """Label maps of PASS, as `PseudoLabelHook` has them made."""
    return label_maps(folder, size, segmenter=None)


def refine(folder: Path, size: int) -> Callable[[], object]:
    """The same of PDSO (SPO), by GrabCut."""
    return label_maps(folder, size, segmenter=dict(type='GrabCutSegmenter'))


def label_maps(folder: Path, size: int, segmenter: dict[str, Any] | None) -> Callable[[], object]:
    """Label maps from random centroids and embeddings of no image."""
    from luss_mm.datasets.transforms import GeneratePseudoLabel
    from luss_mm.pipeline.generate_labels import PixelLabeller, generate_labels

    inference, batches = attended_inference(), image_batches(folder)
    random = np.random.default_rng(0)
    channels = SIZES['feature_channels']
    centroids = random.standard_normal((CATEGORIES, channels), dtype=np.float32)
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    embeddings = np.broadcast_to(centroids[0], (size, channels))  # without memory of its own
    transform = GeneratePseudoLabel(segmenter=segmenter)
    labeller = PixelLabeller(inference, centroids, 0.4, transform)
    out = folder / f'labels_{size}_{segmenter is not None}'
    return lambda: generate_labels(out, labeller, batches, embeddings, {}, {})


def infer(folder: Path, size: int) -> Callable[[], object]:
    """What `tools/infer.py --outputs labels` does."""
    from luss_mm.inference.infer_folder import FolderInference
    from luss_mm.inference.inferencer import LUSSInferencer

    import torch
    from mmengine.config import Config
    from mmseg.registry import MODELS

    stage = Config(recipe_stage('finetune'))
    weights = dict(state_dict=MODELS.build(stage.model).state_dict())
    torch.save(weights, folder / 'segmentor.pth')
    inferencer = LUSSInferencer(stage, folder / 'segmentor.pth', device='cpu', names='none')
    inference = FolderInference(inferencer, folder / 'train', ['labels'], BATCH)
    return lambda: inference.write(folder / f'inferred_{size}')


def attended_inference() -> Any:
    """Backbone and attention."""
    from luss_mm.models.attended_backbone import AttendedInference

    from mmseg.registry import MODELS

    return AttendedInference(MODELS.build(recipe_stage('attention')['model']))


def recipe_stage(name: str) -> dict[str, Any]:
    """Config of a stage of the small recipe; its types are mmseg's from now on."""
    import luss_mm  # noqa: F401  registers everything
    from luss_mm.recipes.recipe import Recipe

    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    init_default_scope('mmseg')
    config = Config.fromfile(RECIPE)
    config.merge_from_dict(dict(SIZES, work_dir='unused'))
    return Recipe(config).stage(name, 'unused')


def image_batches(folder: Path) -> Any:
    """The photographs, in one process."""
    from luss_mm.pipeline.image_batches import ShardedBatches

    from mmseg.registry import DATASETS

    pipeline = [
        dict(type='LoadBoundedImage'),
        dict(type='KeepLoadedImage'),
        dict(type='ResizeShortSide', side=SIDE),
        dict(type='PackImage'),
    ]
    prefix = dict(img_path='train')
    dataset = dict(type='LUSSDataset', data_root=str(folder), data_prefix=prefix, pipeline=pipeline)
    return ShardedBatches(DATASETS.build(dataset), BATCH)
