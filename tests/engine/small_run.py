"""The folder of a finished fine-tuning that takes no training: a config and random weights."""

import json

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from torch import nn

from tests.models.small_networks import RESNET, RESNET_CHANNELS

NUM_IDS = 300
SIDE = 32
PIPELINE = [
    dict(type='LoadBoundedImage', max_side=2048),
    dict(type='Resize', scale=(SIDE * 8, SIDE), keep_ratio=True),
    dict(type='LoadLabelMap', match_image=False),
    dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape')),
]


def run_config(kind='LUSSSegmentor', num_ids=NUM_IDS, pipeline=PIPELINE):
    """Config of a segmentor with a stride of 4 pixels."""
    return Config(
        dict(
            model=dict(
                type=kind,
                data_preprocessor=dict(
                    type='SegDataPreProcessor',
                    mean=[123.675, 116.28, 103.53],
                    std=[58.395, 57.12, 57.375],
                    bgr_to_rgb=True,
                ),
                backbone=RESNET,
                decode_head=dict(
                    type='FCNHead',
                    in_index=0,
                    in_channels=RESNET_CHANNELS[0],
                    channels=RESNET_CHANNELS[0],
                    num_convs=0,
                    concat_input=False,
                    dropout_ratio=0.0,
                    num_classes=num_ids,
                    align_corners=False,
                    ignore_index=1000,
                    loss_decode=dict(type='CrossEntropyLoss'),
                ),
                train_cfg=dict(),
                test_cfg=dict(mode='whole'),
            ),
            test_dataloader=dict(batch_size=1, dataset=dict(type='LUSSDataset', pipeline=pipeline)),
            custom_imports=dict(imports=['luss_mm'], allow_failed_imports=False),
        )
    )


def make_run(work_dir, match=None, names=None, **settings):
    """Write <work_dir>/finetune/{config.py,final.pth} and, with a match, evaluation/."""
    stage = work_dir / 'finetune'
    (stage / 'evaluation').mkdir(parents=True)
    config = run_config(**settings)
    config.dump(stage / 'config.py')
    meta = dict(dataset_meta=dict(palette=[]), cfg=config.pretty_text)
    state = random_model(config).state_dict()
    torch.save(dict(state_dict=state, meta=meta), stage / 'final.pth')
    if match is not None:
        (stage / 'evaluation' / 'match.json').write_text(json.dumps(match))
    if names is not None:
        rows = [dict(id=i, name=name) for i, name in enumerate(names)]
        (stage / 'evaluation' / 'scores.json').write_text(json.dumps(dict(per_class=rows)))
    return work_dir


def random_model(config, seed=0):
    """The config's model with weights under which many ids occur."""
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(config.model)
    nn.init.normal_(model.decode_head.conv_seg.weight)
    return model.eval()
