"""Recipes have the published numbers, of papers and repositories: docs/methods/ says where."""

import functools

import pytest

from tests.test_configs import CONFIGS, load_recipe, trainings

SCHEDULE = dict(type='CosineAnnealingLR', eta_min=0.0006)
SGD = dict(type='SGD', momentum=0.9)
ASPP = dict(type='DeepLabV3PlusHead', dilations=(1, 6, 12, 18), align_corners=True)


def lars(stage, lr, epochs):
    return {
        f'{stage}.optim_wrapper': dict(type='AmpOptimWrapper'),
        f'{stage}.optim_wrapper.clip_grad': None,
        f'{stage}.optim_wrapper.optimizer': dict(
            type='LARS', lr=lr, momentum=0.9, weight_decay=1e-6
        ),
        f'{stage}.train_cfg.max_epochs': epochs,
        f'{stage}.param_scheduler.0': SCHEDULE | dict(T_max=epochs, convert_to_iter_based=True),
    }


def pass_numbers(categories, depth, channels, prototypes, views, queue, frozen, epochs, lr):
    head = dict(
        type='PrototypeHead',
        in_channels=channels,
        hidden_channels=channels,
        embedding_channels=128,
        num_prototypes=prototypes,
    )
    pixels = dict(head, type='PixelToPixelHead', placement='edge')
    del pixels['num_prototypes']
    views = [dict(num=n, size=size, scale=scale) for n, size, scale in views]
    crops = 'train_dataloader.dataset.pipeline.MultiCrop'
    hooks = 'finetune.custom_hooks'
    loaded = f'{hooks}.PseudoLabelHook.source.dataset.pipeline'
    return {
        'pretrain.model.backbone': dict(type='ResNet', style='pytorch', depth=depth),
        f'pretrain.{crops}': dict(views=views, colours_on_device=False),
        'pretrain.model.head': head,
        'pretrain.model.pixel_to_pixel': pixels,
        'pretrain.model.deep_to_shallow.0': dict(in_index=2, in_channels=channels // 2),
        'pretrain.model.queue_length': queue,
        'pretrain.custom_hooks.FeatureQueueHook.start_epoch': 15,
        'pretrain.custom_hooks.PrototypesHook.frozen_iters': frozen,
        'pretrain.train_dataloader.batch_size': 32,
        **lars('pretrain', 0.6, epochs),
        f'attention.{crops}.views': [dict(num=2, size=224, scale=(0.08, 1.0))],
        'attention.model.head': head,
        'attention.model.queue_length': 3840,
        'attention.custom_hooks.FeatureQueueHook.start_epoch': 0,
        'attention.custom_hooks.PrototypesHook.frozen_iters': None,
        **lars('attention', lr, 20),
        f'{hooks}.ClusterHook': dict(
            num_clusters=categories, kmeans_iterations=20, kmeans_restarts=30
        ),
        f'{loaded}.ResizeShortSide.side': 256,
        f'{loaded}.CenterCrop.crop_size': 224,
        'finetune.load_from': 'work/pretrain/final.pth',  # not the attention stage
        'finetune.model.decode_head': dict(
            num_classes=categories + 1, num_convs=0, dropout_ratio=0, concat_input=False
        ),
        'finetune.model.loss_stride': None,  # 2 by default
        'finetune.train_dataloader.dataset.pipeline.RandomResizedSegCrop.size': 224,
        **lars('finetune', 0.6, 20),
        'finetune.val_dataloader.dataset': dict(type='ImageNetSDataset', subset=categories),
    }


def pdso_numbers():
    found = {
        'dff_f.custom_hooks.DFFHook': dict(labels='given', loss_labels='given'),
        'dff_g.custom_hooks.DFFHook': dict(labels='predicted', flip_average=True),
        'finetune.custom_hooks.CSDHook': dict(rule='margin', keep_fraction=0.665),
        'finetune.custom_hooks.PseudoLabelHook.label_transform': dict(sigma=0.8, min_area=0),
        'finetune.custom_hooks.PseudoLabelHook.label_transform.segmenter': dict(
            type='SAMSegmenter', model_type='vit_b'
        ),
    }
    for stage, kind, epochs, batch in (
        ('dff_f', 'ImageClassifier', 15, 64),
        ('dff_g', 'ImageClassifier', 50, 32),
        ('dff_h', 'AttendedClassifier', 50, 32),
    ):
        found |= {
            f'{stage}.load_from': 'work/attention/final.pth',
            f'{stage}.model.type': kind,
            f'{stage}.train_cfg.max_epochs': epochs,
            f'{stage}.train_dataloader.batch_size': batch,
            f'{stage}.optim_wrapper.optimizer': dict(SGD, lr=0.01, weight_decay=1e-6),
            f'{stage}.param_scheduler.0': dict(SCHEDULE, T_max=epochs),
            f'{stage}.train_dataloader.dataset.pipeline.CenterCrop.crop_size': 224,
            f'{stage}.train_dataloader.dataset.small_loss': (
                None if stage == 'dff_f' else dict(rule='mean')
            ),
        }
    return found


def pct_numbers(classes, resnet):
    optimiser = dict(SGD, weight_decay=4e-5)
    labels = 'retrain.custom_hooks.TaggedLabelHook'
    data = 'pct.train_dataloader.dataset'
    found = {
        'pct.model.segmentor.decode_head': dict(
            ASPP, num_classes=classes, shallow_kernel=3, aspp_dropout=0.5
        ),
        'pct.model': dict(restrict_to_tags=True, predict_with='hybrid'),
        'pct.train_dataloader.sampler': dict(labelled=5, unlabelled=5, epoch_iterations=20000),
        f'{data}.revisit_labelled': True,
        f'{data}.labelled.pipeline.PCTOperations.num': 2,
        f'{data}.unlabelled.pipeline.PCTOperations': None,
        'retrain.train_dataloader.batch_size': 16,
        'retrain.load_from': None,  # trained again
        labels: dict(
            scales=(0.5, 0.75, 1.0, 1.25, 1.5), flip=True, network='hybrid', average='logits'
        ),
    }
    for stage, lr, length in (('pct', 1e-3, 20000), ('retrain', 7e-3, 30000)):
        found |= {
            f'{stage}.optim_wrapper.optimizer': dict(optimiser, lr=lr),
            f'{stage}.optim_wrapper.paramwise_cfg.custom_keys': dict(conv_seg=dict(lr_mult=10)),
            f'{stage}.param_scheduler.0': dict(type='PolyLR', power=0.9, end=length),
            f'{stage}.train_cfg.max_iters': length,
            f'{stage}.model.data_preprocessor.size': (384, 384),
        }
    if resnet:
        found['pct.model.segmentor.backbone'] = dict(
            type='ResNetV1c', strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=True
        )
    return found


def dssn_numbers(classes, resnet, city):
    """Numbers of both methods, on 4 GPUs."""
    lr, factor, epochs, images = (0.005, 1, 240, 1) if city else (0.002, 10, 100, 2)
    crop = (801, 801) if city else (513, 513)
    head, data = 'dssn.model.segmentor.decode_head', 'dssn.train_dataloader.dataset'
    strong = f'{data}.unlabelled.pipeline.PackViews.views.strong1'
    found = {
        head: dict(ASPP, in_channels=2048, shallow_in_channels=256, channels=256, dropout_ratio=0),
        f'{head}.shallow_channels': 48,
        f'{head}.shallow_kernel': None,
        f'{head}.num_classes': classes,
        'dssn.model': dict(
            selection='all' if city else 'class_aware',
            strong_from_epoch=5 if city else 0,
            strong_from_iteration=1,
        ),
        'dssn.train_cfg': dict(by_epoch=True, max_epochs=epochs),
        'dssn.param_scheduler.0': dict(end=epochs, convert_to_iter_based=True),
        'dssn.train_dataloader.sampler': dict(
            type='SemiSampler', labelled=images, unlabelled=images, partners=True
        ),
        'dssn.train_dataloader.batch_size': 3 * images,
        'supervised.train_dataloader.batch_size': images,
        f'{strong}.0': dict(type='DistortColours', jitter=(0.5, 0.5, 0.5, 0.25)),
        f'{strong}.RandomColourOperations': (
            None if city else dict(num=(1, 3), pool='dssn')  # none on Cityscapes
        ),
        f'{strong}.DrawCutMixBox': dict(prob=0.5, shapes='uniform'),
        f'{data}.unlabelled.pipeline.1.type': 'MarkValidPixels',
    }
    for part in ('labelled', 'unlabelled'):
        pipeline = f'{data}.{part}.pipeline'
        found |= {
            f'{pipeline}.RandomResize': dict(ratio_range=(0.5, 2.0), keep_ratio=True),
            f'{pipeline}.Pad': dict(size=crop, pad_val=dict(img=0, seg=1000)),
            f'{pipeline}.RandomCrop.crop_size': crop,
            f'{pipeline}.RandomFlip.prob': 0.5,
        }
    for method in ('dssn', 'supervised'):
        found |= {
            f'{method}.optim_wrapper.optimizer': dict(SGD, lr=lr, weight_decay=1e-4),
            f'{method}.optim_wrapper.paramwise_cfg.custom_keys': dict(
                decode_head=dict(lr_mult=factor)
            ),
            f'{method}.param_scheduler.0': dict(type='PolyLR', power=0.9),
        }
    segmentor = 'dssn.model.segmentor'
    if resnet:
        found[f'{segmentor}.backbone'] = dict(
            type='ResNetV1c', depth=resnet, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)
        )
    else:
        found[f'{segmentor}.backbone'] = dict(model_name='xception65', output_stride=16)
    if city:
        found[f'{segmentor}.type'] = found['supervised.model.type'] = 'WindowSegmentor'
        found[f'{segmentor}.test_cfg'] = dict(mode='slide', crop_size=crop, stride=(534, 534))
        found[f'{head}.loss_decode'] = dict(
            type='HardPixelCrossEntropy', ignore_label=1000, thres=0.7, min_kept=100000
        )
        found['dssn.model.max_argmax_pixels'] = 2048 * 1024
    return found


def imagenet_s_numbers(lr, decay, wd, drop_path=0, searched=None, long=False, upsample=None):
    length, warmed = (3600, 180) if long else (100, 5)
    return {
        'finetune.optim_wrapper': dict(constructor='LayerDecayConstructor'),
        'finetune.optim_wrapper.optimizer': dict(type='AdamW', lr=lr, weight_decay=wd),
        'finetune.optim_wrapper.paramwise_cfg': dict(
            layer_decay=decay,
            searched=dict(layer_decay=searched, multiplier=10) if searched else {},
        ),
        'finetune.auto_scale_lr': dict(enable=True, base_batch_size=256),
        'finetune.train_dataloader': dict(batch_size=32, drop_last=long),
        'finetune.model.decode_head.type': 'FCNHead' if long else 'LinearHead',
        'finetune.model.decode_head.upsample': upsample,
        'finetune.model.backbone.drop_path_rate': drop_path or None,
        'finetune.train_cfg': dict(max_iters=length) if long else dict(max_epochs=length),
        'finetune.param_scheduler.0.end': warmed,
        'finetune.param_scheduler.1': dict(begin=warmed, end=length, T_max=length - warmed),
        'finetune.param_scheduler.1.eta_min_ratio': 1e-6 / lr,
    }


SMALL_VIEWS = [(2, 224, (0.14, 1.0)), (6, 96, (0.05, 0.14))]
S300 = (50, 2048, 3000, [(2, 224, (0.08, 1.0))], 3840, 5005, 100, 0.6)
VIT, CONVNEXT = dict(wd=0.05, drop_path=0.1), dict(lr=2.5e-4, wd=0.05, drop_path=0.2)
RESNET = dict(lr=5e-4, wd=0.0005, upsample=2)
TABLE = {
    'luss/pass_s50': pass_numbers(50, 18, 512, 500, SMALL_VIEWS, 2048, 1001, 200, 6.0),
    'luss/pass_s300': pass_numbers(300, *S300),
    'luss/pass_s919': pass_numbers(919, *S300),
    **{f'luss/pdso_s{categories}': pdso_numbers() for categories in (50, 300, 919)},
    'semi/pct_voc_resnet101': pct_numbers(21, True),
    'semi/pct_voc_xception65': pct_numbers(21, False),
    'semi/pct_coco_resnet101': pct_numbers(81, True),
    **{
        f'semi/dssn_{data}_{backbone}': dssn_numbers(classes, depth, data == 'cityscapes')
        for data, classes in (('voc', 21), ('cityscapes', 19), ('coco', 81))
        for backbone, depth in (('resnet50', 50), ('resnet101', 101), ('xception65', None))
        if data != 'coco' or depth is None
    },
    **{
        f'imagenet_s/{name}{end}': imagenet_s_numbers(**numbers, long=bool(end))
        for end in ('', '_3600')
        for name, numbers in dict(
            mae_vit_base_ssl=dict(lr=5e-4, decay=0.6, **VIT),
            mae_vit_base_ssl_sup=dict(lr=1e-4, decay=0.4, **VIT),
            sere_vit_small_ssl=dict(lr=5e-4, decay=0.5, **VIT),
            sere_vit_small_ssl_sup=dict(lr=5e-4, decay=0.5, **VIT),
        ).items()
    },
    'imagenet_s/pass_resnet50_d32': imagenet_s_numbers(decay=0.4, **RESNET),
    'imagenet_s/pass_resnet50_d16': imagenet_s_numbers(decay=0.45, **RESNET),
    'imagenet_s/convnext_tiny': imagenet_s_numbers(decay=0.6, **CONVNEXT),
    'imagenet_s/rf_convnext_tiny_search': imagenet_s_numbers(decay=0.6, searched=0.9, **CONVNEXT),
    'imagenet_s/rf_convnext_tiny_single': imagenet_s_numbers(decay=0.6, searched=0.9, **CONVNEXT),
    'imagenet_s/rf_convnext_tiny_multiple': imagenet_s_numbers(
        decay=0.55, searched=0.9, **CONVNEXT | dict(drop_path=0.1)
    ),
    'imagenet_s/rf_convnext_tiny_merge': imagenet_s_numbers(decay=0.55, searched=1.0, **CONVNEXT),
}


@functools.cache
def stages_of(recipe):
    stages = trainings(load_recipe(CONFIGS / f'{recipe}.py', work_dir='work'))
    if 'dssn' in recipe:  # and the baseline on the labelled images alone
        stages |= stages_of(recipe.replace('dssn', 'supervised'))
    return stages


def value_at(value, place):
    """What stands there; None for nothing. Entries of lists go by number or by type."""
    for key in place.split('.'):
        if isinstance(value, (list, tuple)):
            by_type = {entry['type']: entry for entry in value}
            value = value[int(key)] if key.isdigit() else by_type.get(key)
        else:
            value = (value or {}).get(key)
    return value


def holds(value, expected):
    """Whether a value is the expected one, or a dict (or list of dicts) that holds its keys."""
    if isinstance(expected, dict) and expected:
        return all(holds((value or {}).get(key), inner) for key, inner in expected.items())
    if isinstance(expected, list):
        return len(value) == len(expected) and all(map(holds, value, expected))
    if isinstance(expected, float):
        return value == pytest.approx(expected)
    if isinstance(expected, str) and expected.startswith('work/'):
        return value.endswith(expected.removeprefix('work'))
    return value == expected or (not expected and not value)


@pytest.mark.parametrize('recipe', TABLE)
def test_published_numbers(recipe):
    wrong = {
        place: value_at(stages_of(recipe), place)
        for place, expected in TABLE[recipe].items()
        if not holds(value_at(stages_of(recipe), place), expected)
    }
    assert not wrong
