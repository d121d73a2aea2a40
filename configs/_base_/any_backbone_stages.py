# PDSO (PASS without its three parts) for any backbone: pretraining can be skipped where there are
# self-supervised weights, and the head that is fine-tuned can read several maps.
_base_ = './pdso_stages.py'

use_dff = True
use_csd = True
use_spo = True
checkpoint = None  # backbone weights from elsewhere, through tools/convert_checkpoint.py
# False: pretraining is left out; the projection and the prototypes that attention learns through
# are trained on the frozen weights. True: pretraining starts from the checkpoint.
continue_pretraining = False
pretrains = '${continue_pretraining if checkpoint else True}'
pretrained = "${work_dir + '/pretrain/final.pth' if pretrains else checkpoint}"
pretraining = 'pass'  # or 'contrastive': whole images alone, for few photographs and little time
# Attention never learns through a projection and prototypes with random weights.
lacks_projection = '${pretraining == "contrastive" if pretrains else True}'
needs_projection = '${lacks_projection}'
projection_epochs = 5
attended = "${work_dir + '/projection/final.pth' if needs_projection else pretrained}"
stage_order = ['pretrain', 'projection', 'attention', 'dff_f', 'dff_g', 'dff_h', 'finetune']
weights_hook = dict(type='PretrainedWeightsHook', files=dict(checkpoint='${checkpoint}'))

use_pyramid_head = False  # True: a head on all maps of the backbone; False: PASS's 1x1 convolution
linear_head = dict(
    type='FCNHead',
    in_index='${in_index}',
    in_channels='${feature_channels}',
    channels='${feature_channels}',
    num_convs=0,
    concat_input=False,
    dropout_ratio=0.0,
    num_classes='${num_categories + 1}',
    align_corners=False,
    ignore_index='${ignore_index}',
    loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
)
pyramid_head = dict(
    type='SegformerHead',  # or 'UPerHead', with the same arguments
    in_index=[0, 1, 2, 3],
    in_channels='${output_channels}',
    channels=256,
    dropout_ratio=0.1,
    num_classes='${num_categories + 1}',
    norm_cfg=dict(type='BN', requires_grad=True),  # synchronised over GPUs by the runner
    align_corners=False,
    ignore_index='${ignore_index}',
    loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
)
decode_head = '${pyramid_head if use_pyramid_head else linear_head}'

pretrain_queue_hook = dict(type='FeatureQueueHook', start_epoch='${queue_start_epoch}')
pretrain_prototypes_hook = dict(type='PrototypesHook', frozen_iters='${frozen_prototype_iters}')
contrastive_pretrainer = dict(
    type='ContrastivePretrainer',
    data_preprocessor='${views_preprocessor}',
    backbone='${backbone}',
    in_index='${in_index}',
    head=dict(
        type='ProjectionHead',
        in_channels='${feature_channels}',
        hidden_channels='${hidden_channels}',
        embedding_channels='${embedding_channels}',
    ),
    temperature='${contrastive_temperature}',
)
contrastive_temperature = 0.2  # by which cosines are divided

stages = dict(
    pretrain=dict(
        enabled='${pretrains}',
        load_from='${checkpoint}',
        model='${pass_pretrainer if pretraining == "pass" else contrastive_pretrainer}',
        custom_hooks=[
            '${pretrain_queue_hook if pretraining == "pass" else None}',
            '${pretrain_prototypes_hook if pretraining == "pass" else None}',
            '${weights_hook if checkpoint else None}',
        ],
    ),
    projection=dict(  # the image loss of pretraining, of the views of attention
        enabled='${needs_projection}',
        load_from='${pretrained}',
        model=dict(
            type='PASSPretrainer',
            data_preprocessor='${views_preprocessor}',
            backbone='${backbone}',
            in_index='${in_index}',
            head='${prototype_head}',
            queue_length='${attention_queue_length}',
            freeze_backbone=True,
        ),
        train_dataloader=dict(
            batch_size='${batch_size}',
            num_workers='${num_workers}',
            persistent_workers='${num_workers > 0}',
            drop_last=True,
            sampler='${train_loader_sampler}',
            collate_fn=dict(type='default_collate'),
            dataset=dict(
                type='LUSSDataset',
                data_root='${data_root}',
                data_prefix=dict(img_path='${train_split}'),
                seed='${seed}',
                pipeline=['${loading}', '${attention_cropping}'],
            ),
        ),
        optim_wrapper=dict(type='OptimWrapper', optimizer='${pretrain_optimizer}'),
        param_scheduler=[
            dict(
                type='CosineAnnealingLR',
                T_max='${projection_epochs}',
                end='${projection_epochs}',
                eta_min='${pretrain_min_lr}',
                by_epoch=True,
                convert_to_iter_based=True,
            )
        ],
        train_cfg=dict(by_epoch=True, max_epochs='${projection_epochs}'),
        custom_hooks=[
            dict(type='FeatureQueueHook', start_epoch=0),
            dict(type='PrototypesHook'),
            '${weights_hook if checkpoint else None}',
        ],
    ),
    attention=dict(
        load_from='${attended}',
        custom_hooks=[
            dict(type='FeatureQueueHook', start_epoch=0),
            dict(type='PrototypesHook'),
            '${weights_hook if checkpoint else None}',
        ],
    ),
    finetune=dict(load_from='${pretrained}', model=dict(decode_head='${decode_head}')),
)
