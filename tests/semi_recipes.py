"""The recipes of configs/semi with tiny networks, and tiny data in every layout that they read."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, MODELS
from PIL import Image

from luss_mm.checkpoints.loading import load_weights
from tests.test_configs import CONFIGS
from tests.tiny_layout import write_image, write_label_map

SETS = ('voc', 'cityscapes', 'coco')  # whose images and masks lie in lists
BACKBONES = dict(
    voc=('resnet50', 'resnet101', 'xception65'),
    cityscapes=('resnet50', 'resnet101', 'xception65'),
    coco=('xception65',),
    imagenet_s50=('resnet50',),
)
PAIRS = [f'{data}_{b}' for data, backbones in BACKBONES.items() for b in backbones] + ['folder']
NAMES = [f'{method}_{pair}' for pair in PAIRS for method in ('dssn', 'supervised')]
TINY_XCEPTION = 'tiny_xception'
TINY = {
    'crop_size': 32,
    'resize_scale': (40, 40),
    'labelled_batch': 2,
    'unlabelled_batch': 2,
    'num_workers': 0,
    'amp': False,
    'head_channels': 8,
}
TINY_RESNETS = {'backbone.base_channels': 4, 'backbone.stem_channels': 4}
TINY_BACKBONES = dict(
    resnet=TINY_RESNETS | dict(feature_channels=128, shallow_channels=16),
    folder=TINY_RESNETS | dict(feature_channels=32, shallow_channels=4),
    xception={
        'backbone.model_name': TINY_XCEPTION,
        'feature_channels': 16,
        'shallow_channels': 8,
    },
)
_directory = tempfile.TemporaryDirectory()
ROOT = Path(_directory.name)


def config_path(name):
    return CONFIGS / 'semi' / f'{name}.py'


def tiny_config(name, **options):
    """A recipe's config with a tiny network on tiny data."""
    config = Config.fromfile(config_path(name))
    config.merge_from_dict(
        TINY
        | _tiny_backbone(name)
        | {f'decode_head.{shallow_name(config)}': 4}
        | tiny_data(data_of(name))
        | dict(checkpoint=str(tiny_weights(name)), work_dir=str(ROOT / name), launcher='none')
        | options
    )
    return config


def shallow_name(config):
    """What a head calls the channels that it reduces the shallow map to."""
    published = config.decode_head.type == 'DeepLabV3PlusHead'
    return 'shallow_channels' if published else 'c1_channels'


def _tiny_backbone(name):
    return next(options for kind, options in TINY_BACKBONES.items() if kind in name)


def data_of(name):
    return next(data for data in (*SETS, 'imagenet_s', 'folder') if data in name)


@functools.cache
def tiny_weights(name):
    """Random weights of a recipe's tiny backbone, as a pretraining leaves them."""
    config = Config.fromfile(config_path(name))
    config.merge_from_dict(_tiny_backbone(name))
    backbone = dict(config.backbone)
    del backbone['init_cfg']
    if 'xception' in name:
        register_tiny_xception()
    return write_weights(backbone, ROOT / f'{name}.pth')


def write_weights(backbone, path):
    """Random weights of a config's backbone, as a pretraining leaves them."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        state = MODELS.build(backbone).state_dict()
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in state.items()}), path)
    return path


def load_finished(stage):
    """Config, and model with its weights, of a finished stage, and its first validation image."""
    config = Config.fromfile(stage / 'config.py')
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(config.model)
        sample = DATASETS.build(config.val_dataloader.dataset)[0]
    load_weights(model, stage / 'final.pth')
    return (
        config,
        model.eval(),
        dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]),
    )


@functools.cache
def register_tiny_xception():
    """Xception with five narrow blocks instead of 21, under a name of its own in timm."""
    from timm.models import register_model
    from timm.models.xception_aligned import XceptionAligned

    def tiny_xception(pretrained=False, num_classes=0, output_stride=32, **kwargs):
        blocks = [
            dict(in_chs=64, out_chs=8, stride=2),
            dict(in_chs=8, out_chs=8, stride=2),
            dict(in_chs=8, out_chs=8, stride=2),
            dict(in_chs=8, out_chs=8, stride=2),
            dict(in_chs=8, out_chs=(8, 16, 16), stride=1, no_skip=True, start_with_relu=False),
        ]
        return XceptionAligned(blocks, num_classes=num_classes, output_stride=output_stride)

    tiny_xception.__name__ = TINY_XCEPTION
    register_model(tiny_xception)


@functools.cache
def tiny_data(data):
    """Settings that name tiny data: 3 labelled, 4 unlabelled and 2 validation images."""
    rng = np.random.default_rng(0)
    root = ROOT / data
    if data in SETS:
        return _listed_images(root, rng, num_classes=19 if data == 'cityscapes' else 21)
    ids = [0, 1, 2, 1000] if data == 'folder' else [0, 1, 7, 50, 1000]
    splits = dict(zip(('train-semi', 'train', 'validation'), (3, 4, 2), strict=True))
    for split, count in splits.items():
        for i in range(count):
            place = f'{"ab"[i % 2]}/{split}_{i}'  # categories of the ids 1 and 2
            write_image(root / split / f'{place}.JPEG', rng.integers(0, 256, (40, 52, 3)))
            if split != 'train':
                write_label_map(
                    root / f'{split}-segmentation' / f'{place}.png', rng.choice(ids, (40, 52))
                )
    return dict(data_root=str(root), resize_side=40, num_categories=max(ids[:-1]))


def _listed_images(root, rng, num_classes):
    lists = dict(zip(('tiny/labeled', 'tiny/unlabeled', 'val'), (3, 4, 2), strict=True))
    for name, count in lists.items():
        lines = []
        for i in range(count):
            stem = f'{Path(name).name}_{i}'
            write_image(root / f'images/{stem}.jpg', rng.integers(0, 256, (40, 52, 3)))
            labels = rng.choice([*range(num_classes), 255], (40, 52)).astype(np.uint8)
            (root / 'masks').mkdir(exist_ok=True)
            Image.fromarray(labels).save(root / f'masks/{stem}.png')
            lines.append(f'images/{stem}.jpg masks/{stem}.png')
        path = root / 'lists' / f'{name}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('\n'.join(lines) + '\n')
    return dict(data_root=str(root), split_root=str(root / 'lists'), split='tiny')
