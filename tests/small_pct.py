"""A recipe of Learning Pseudo Labels shrunk to seconds, and images for all of them."""

import functools

import numpy as np
import torch
from mmengine.config import Config

from luss_mm.imagenet_s.lists import imagenet_s_categories
from luss_mm.recipes.recipe import Recipe
from tests.semi_recipes import write_weights
from tests.tiny_layout import write_image, write_label_map

CATEGORIES = ('disc', 'stripes', 'wedge')
COLOURS = np.array([[200, 40, 30], [40, 180, 60], [60, 60, 210]])
IGNORED = 1000
SIZE = (40, 52)  # of the images that only fill a step

OPTIONS = {
    'num_categories': len(CATEGORIES),
    'backbone.base_channels': 4,
    'backbone.stem_channels': 4,
    'feature_channels': 32,
    'shallow_channels': 4,
    'head_channels': 8,
    'decode_head.c1_channels': 4,
    'resize_side': 32,
    'crop_size': 32,
    'labelled_batch': 2,
    'tagged_batch': 3,
    'iterations': 4,
    'retrain_iterations': 4,
    'retrain_batch_size': 3,
    'label_batch_size': 2,
    'shard_size': 4,
    'checkpoint_interval': 2,
    'num_workers': 0,
    'default_hooks.logger.interval': 1,
}


def write_folder(root, labelled=1, tagged=3, validation=2):
    """Images of 30 to 44 pixels of each category; `train` holds those of `train-semi` too."""
    rng = np.random.default_rng(0)
    for number, category in enumerate(CATEGORIES, start=1):
        for i in range(tagged):
            image, mask = _draw(rng, number)
            write_image(root / 'train' / category / f'{i}.png', image)
            if i < labelled:
                write_image(root / 'train-semi' / category / f'{i}.png', image)
                write_label_map(root / 'train-semi-segmentation' / category / f'{i}.png', mask)
        for i in range(validation):
            image, mask = _draw(rng, number)
            write_image(root / 'validation' / category / f'{i}.png', image)
            write_label_map(root / 'validation-segmentation' / category / f'{i}.png', mask)
    return root


def write_backbone(path, recipe, **options):
    """Random weights as a pretraining of the recipe's backbone would leave them."""
    config = Config.fromfile(recipe)
    config.merge_from_dict(OPTIONS | options | dict(work_dir='none'))
    torch.manual_seed(0)
    return write_weights(Recipe(config).stage('retrain', 'none')['model']['backbone'], path)


@functools.cache
def tiny_folders(directory):
    """The first two categories of ImageNet-S50, one mask and two images of each."""
    root, rng = directory / 'folders', np.random.default_rng(0)
    for number, (wnid, _) in enumerate(imagenet_s_categories(50)[:2], start=1):
        for split, count in (('train-semi', 1), ('train', 2), ('validation', 1)):
            for i in range(count):
                write_image(root / split / wnid / f'{i}.png', rng.integers(0, 256, (*SIZE, 3)))
                if split != 'train':
                    ids = rng.choice([0, number, 1000], SIZE)
                    write_label_map(root / f'{split}-segmentation' / wnid / f'{i}.png', ids)
    return dict(data_root=str(root), resize_side=32)


def _draw(rng, category):
    """BGR image and mask of one shape; a corner of the mask is ignored."""
    height, width = rng.integers(30, 45, 2)
    rows, columns = np.indices((height, width))
    top, left = rng.uniform(0.3, 0.7, 2) * (height, width)
    inside = (rows - top) ** 2 + (columns - left) ** 2 < (0.3 * min(height, width)) ** 2
    if category == 2:
        inside = np.abs(rows - top) < 5
    if category == 3:
        inside = rows - top > np.abs(columns - left)
    image = rng.integers(90, 160, (height, width, 3))
    image[inside] = (image[inside] + 2 * COLOURS[category - 1]) // 3
    mask = np.where(inside, category, 0)
    mask[:2, :2] = IGNORED
    return image, mask
