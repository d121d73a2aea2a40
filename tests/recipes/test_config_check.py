import pytest

from luss_mm.recipes.config_check import (
    check_stage,
)
from luss_mm.recipes.settings import SettingsError


def stage(**changes):
    config = dict(
        model=dict(
            type='LUSSSegmentor',
            data_preprocessor=dict(type='SegDataPreProcessor', mean=[1, 2, 3], seg_pad_val=1000),
            backbone=dict(type='ResNet', depth=18, norm_cfg=dict(type='BN', requires_grad=True)),
            decode_head=dict(
                type='FCNHead',
                in_channels=8,
                channels=8,
                num_classes=3,
                loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
            ),
            init_cfg=dict(type='Pretrained', checkpoint='x.pth'),
        ),
        train_dataloader=dict(
            batch_size=2,
            sampler=dict(type='EpochSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
            dataset=dict(
                type='LUSSDataset',
                data_prefix=dict(img_path='train'),
                serialize_data=False,  # of a base class
                pipeline=[
                    dict(type='LoadBoundedImage', max_side=3),
                    dict(type='RandomFlip', prob=1),
                ],
            ),
        ),
        optim_wrapper=dict(
            type='AmpOptimWrapper',
            dtype='float16',
            accumulative_counts=2,  # of a base class
            optimizer=dict(type='LARS', lr=0.6, trust_coefficient=0.001),
            paramwise_cfg=dict(norm_decay_mult=0.0),
        ),
        param_scheduler=[dict(type='CosineAnnealingLR', T_max=3, convert_to_iter_based=True)],
        train_cfg=dict(by_epoch=True, max_epochs=3),
        custom_hooks=[dict(type='PrototypesHook', frozen_iters=3, priority='LOW')],
        default_scope='mmseg',
    )
    return config | changes


def test_a_good_stage_passes():
    check_stage('finetune', stage())


@pytest.mark.parametrize(
    ('key', 'message'),
    [
        ('optim_wraper', 'stages.finetune.optim_wraper: mmengine has no such key; did you mean'),
        ('zzz', 'stages.finetune.zzz: mmengine has no such key$'),
    ],
)
def test_unknown_keys(key, message):
    with pytest.raises(SettingsError, match=message):
        check_stage('finetune', stage(**{key: 1}))


def edited(path, key, value):
    config = stage()
    inner = config
    for part in path:
        inner = inner[part]
    inner[key] = value
    return config


PIPELINE = ('train_dataloader', 'dataset', 'pipeline')


@pytest.mark.parametrize(
    ('path', 'key', 'message'),
    [
        (('model',), 'loss_strid', r'model.loss_strid: LUSSSegmentor takes no.*loss_stride'),
        (('model', 'backbone'), 'deph', r"model.backbone.deph: ResNet takes no.*'depth'"),
        (('model', 'decode_head'), 'num_clases', r"decode_head.num_clases: FCNHead.*'num_classes'"),
        (('train_dataloader', 'dataset'), 'datroot', r"dataset.datroot: LUSSDataset.*'data_root'"),
        ((*PIPELINE, 0), 'maxside', r"pipeline\[0\].maxside: LoadBoundedImage.*'max_side'"),
        (('optim_wrapper', 'optimizer'), 'momentm', r"optimizer.momentm: LARS.*'momentum'"),
        (('param_scheduler', 0), 'tmax', r'param_scheduler\[0\].tmax: CosineAnnealingLR takes no'),
        (('custom_hooks', 0), 'frozen', r'custom_hooks\[0\].frozen: PrototypesHook takes no such'),
    ],
)
def test_misspelt_arguments(path, key, message):
    with pytest.raises(SettingsError, match='stages.finetune.*' + message):
        check_stage('finetune', edited(path, key, 1))


@pytest.mark.parametrize(
    ('path', 'name', 'message'),
    [
        (('model',), 'LUSSSegmenter', "model.type: nothing .*'LUSSSegmenter'; .*'LUSSSegmentor'"),
        (('model', 'backbone'), 'Resnet', "backbone.type: nothing .* did you mean 'ResNet'"),
        (('optim_wrapper', 'optimizer'), 'AdmaW', "optimizer.type: nothing .* mean 'AdamW'"),
        ((*PIPELINE, 1), 'RandomFlop', r"pipeline\[1\].type: nothing .* did you mean 'RandomFlip'"),
    ],
)
def test_misspelt_types(path, name, message):
    with pytest.raises(SettingsError, match=message):
        check_stage('finetune', edited(path, 'type', name))


def test_what_no_registry_knows_is_left_to_its_builder():
    check_stage('finetune', stage(model=dict(type='X', anything=1)))
    check_stage('finetune', edited(('model',), 'auxiliary_head', dict(type='of_somebody_else')))


@pytest.mark.parametrize('kind', ['TIMMBackbone', 'mmpretrain.TIMMBackbone'])
def test_wrappers_of_timm_take_what_timm_takes(kind):
    model = stage()['model']
    backbone = dict(type=kind, model_name='resnet18', out_indices=(1, 2), output_stride=16)
    check_stage('finetune', stage(model=model | dict(backbone=backbone)))
