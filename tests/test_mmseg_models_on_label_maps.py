"""Models of mmseg's own configs learn from our label maps, with ids beyond 255."""

from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmseg.registry import DATASETS, MODELS

from luss_mm.engine.processes import device_overrides
from tests.tiny_layout import write_image, write_label_map

CONFIGS = Path(mmseg.__file__).parent / '.mim/configs'
NUM_IDS, IGNORED = 301, 1000
TINY_RESNET = {'backbone.base_channels': 4, 'backbone.stem_channels': 4, 'backbone.depth': 50}
# Config of mmseg, and what shrinks its model.
MODELS_OF_MMSEG = {
    'segformer': (
        'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
        {
            'backbone.embed_dims': 8,
            'backbone.num_layers': [1] * 4,
            'backbone.num_heads': [1, 1, 1, 1],
            'decode_head.in_channels': [8, 8, 8, 8],
            'decode_head.channels': 16,
        },
    ),
    'knet': (
        'knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512.py',
        TINY_RESNET
        | {
            'decode_head.kernel_generate_head.in_channels': 128,
            'decode_head.kernel_generate_head.channels': 16,
            'auxiliary_head.in_channels': 64,
            'auxiliary_head.channels': 8,
        }
        | {
            f'decode_head.kernel_update_head.{i}.{key}': value
            for i in range(3)
            for key, value in {
                'in_channels': 16,
                'out_channels': 16,
                'feedforward_channels': 32,
                'kernel_updator_cfg.in_channels': 16,
                'kernel_updator_cfg.feat_channels': 16,
                'kernel_updator_cfg.out_channels': 16,
            }.items()
        },
    ),
}


def for_label_maps(value):
    """What docs/extend.md tells to change in a config of mmseg, wherever it stands."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == 'num_classes':
                value[key] = NUM_IDS
            for_label_maps(inner)
        if 'num_classes' in value and 'loss_decode' in value:
            value['ignore_index'] = IGNORED
            value['loss_decode'].setdefault('avg_non_ignore', True)
    elif isinstance(value, list):
        for inner in value:
            for_label_maps(inner)


@pytest.mark.parametrize('name', MODELS_OF_MMSEG)
def test_one_step(name, tmp_path, mmseg_scope, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    path, width = MODELS_OF_MMSEG[name]
    config = Config.fromfile(CONFIGS / path)
    config.merge_from_dict({f'model.{key}': value for key, value in width.items()})
    config.model.pop('pretrained', None)
    config.model.backbone.pop('init_cfg', None)
    config.model.data_preprocessor.update(size=(64, 64), seg_pad_val=IGNORED)
    for_label_maps(config.model)
    config.merge_from_dict(device_overrides(config))  # batch norm of the CPU
    rng = np.random.default_rng(0)
    for i in range(2):
        write_image(tmp_path / f'train/{i}.png', rng.integers(0, 256, (50, 60, 3)))
        ids = rng.choice([0, 1, 255, 256, 300, IGNORED], (50, 60))
        write_label_map(tmp_path / f'pseudo_labels/{i}.png', ids)
    dataset = DATASETS.build(
        dict(
            type='LUSSDataset',
            data_root=str(tmp_path),
            data_prefix=dict(img_path='train', seg_map_path='pseudo_labels'),
            pipeline=[
                dict(type='LoadBoundedImage'),
                dict(type='LoadLabelMap'),
                dict(type='RandomFlip', prob=0.5),
                dict(type='PackSegInputs'),
            ],
        )
    )
    model = MODELS.build(config.model).train()
    losses = model(**model.data_preprocessor(pseudo_collate([*dataset]), True), mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert torch.isfinite(loss) and loss > 1  # about log 301
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.backbone.parameters())
