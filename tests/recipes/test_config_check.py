import pytest

from luss_mm.recipes.config_check import (
    REGISTRIES,
    RUNNER_KEYS,
    _accepted_arguments,
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


def test_other_packages_come_by_prefix():
    good = dict(type='mmpretrain.VisionTransformer', arch='b', img_size=224)
    check_stage('finetune', edited(('model',), 'backbone', good))
    with pytest.raises(SettingsError, match="img_sizes: mmpretrain.VisionTransformer.*'img_size'"):
        check_stage('finetune', edited(('model',), 'backbone', dict(good, img_sizes=1)))


def test_runner_keys():
    assert {'model', 'train_dataloader', 'randomness', 'sync_bn', 'tta_model'} <= RUNNER_KEYS
    assert not {'self', 'cfg', 'stages'} & RUNNER_KEYS


class Base:
    def __init__(self, width, depth=1):
        pass


class PassesOn(Base):
    def __init__(self, height, **kwargs):
        kwargs.pop('old', None)
        if 'older' in kwargs:
            kwargs['width'] = kwargs['older']
        super().__init__(**kwargs)


class HandsAway(Base):
    def __init__(self, name, **options):
        super().__init__(width=1)
        self.wrapped = dict(name=name, **options)


class HandsToBoth(Base):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.wrapped = dict(kwargs)


@pytest.mark.parametrize(
    'target, accepted',
    [
        (PassesOn, {'self', 'height', 'old', 'older', 'width', 'depth'}),
        (HandsAway, None),
        (HandsToBoth, None),
    ],
)
def test_kwargs_are_those_of_the_base_class_only_if_they_go_there(target, accepted):
    assert _accepted_arguments(target) == accepted


@pytest.mark.parametrize('kind', ['TIMMBackbone', 'mmpretrain.TIMMBackbone'])
def test_wrappers_of_timm_take_what_timm_takes(kind):
    model = stage()['model']
    backbone = dict(type=kind, model_name='resnet18', out_indices=(1, 2), output_stride=16)
    check_stage('finetune', stage(model=model | dict(backbone=backbone)))


def test_arguments_of_registered_classes_stay_known():
    for registry in REGISTRIES:
        for name in ('LUSSSegmentor', 'EncoderDecoder', 'FCNHead', 'LUSSDataset', 'ResNet'):
            if (target := registry.get(name)) is not None:
                assert _accepted_arguments(target), name
