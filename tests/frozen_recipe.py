"""A tiny recipe on configs/_base_/frozen_stages.py: random ResNet, rendered shapes, seconds."""

import cv2
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from luss_mm.engine.staged_runner import StagedRunner
from luss_mm.pipeline.rendered_images import RenderTinyShapes
from tests.small_recipe import OPTIONS
from tests.test_configs import CONFIGS

BASES = (
    'default_runtime.py',
    'models/resnet18_small.py',
    'datasets/luss.py',
    'schedules/schedule_pass_folder.py',
    'frozen_stages.py',
)
FROZEN = {
    'num_categories': 7,
    'resize_side': 48,
    'crop_size': 48,
    'feature_channels': 64,
    'output_channels': [16, 32, 64],
    'in_index': 2,
    'map_strides': [8, 16, 16],
    'backbone.out_indices': (1, 2, 3),
    'batch_size': 8,
    'pyramid_head.channels': 8,
    'use_csd': False,
    'use_spo': False,
    'finetune_epochs': 2,
    'finetune_batch_size': 8,
}


def tiny_config(root, work_dir, **options):
    """The recipe for images in `root`, which gets the checkpoint of a random backbone as well."""
    bases = [str(CONFIGS / '_base_' / base) for base in BASES]
    file = root / 'recipe.py'
    file.write_text(f'_base_ = {bases!r}\n')
    config = Config.fromfile(file)
    small = {k: v for k, v in OPTIONS.items() if not k.startswith('stages.data')}
    given = dict(data_root=str(root / 'data'), work_dir=str(work_dir))
    given |= dict(checkpoint=str(root / 'random.pth'))
    config.merge_from_dict(small | FROZEN | given | options)
    config.launcher = 'none'
    return config


def write_inputs(root, num_train=24, num_validation=7):
    """Rendered shapes, half of them wider than high, and the weights of a random backbone."""
    RenderTinyShapes(num_train, num_validation, image_size=64)(root / 'data')
    for path in sorted((root / 'data/train').rglob('*.JPEG'))[::2]:
        cv2.imwrite(str(path), cv2.imread(str(path))[8:56])
    torch.manual_seed(3)
    config = tiny_config(root, root / 'unused')
    with DefaultScope.overwrite_default_scope('mmseg'):
        backbone = MODELS.build(config.backbone.to_dict() | dict(norm_eval=False))
    backbone.init_weights()
    state = {f'backbone.{name}': value for name, value in backbone.state_dict().items()}
    torch.save(dict(state_dict=state), root / 'random.pth')


def run(root, work_dir, **options):
    """Train to the end; returns the work directory."""
    StagedRunner(tiny_config(root, work_dir, **options)).train()
    return work_dir
