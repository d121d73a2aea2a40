# PDSO (PASS without its three parts) for any backbone: pretraining can be skipped where there are
# self-supervised weights, and the head that is fine-tuned can read several maps.
_base_ = './pdso_stages.py'

checkpoint = None  # backbone weights from elsewhere, through tools/convert_checkpoint.py
# False: pretraining is left out, and the attention stage projects by random, frozen weights, for
# the checkpoint has none of PASS's. True: pretraining starts from the checkpoint and trains them.
continue_pretraining = False
pretrains = '${continue_pretraining if checkpoint else True}'
pretrained = "${work_dir + '/pretrain/final.pth' if pretrains else checkpoint}"
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

stages = dict(
    pretrain=dict(
        enabled='${pretrains}',
        load_from='${checkpoint}',
        custom_hooks=[
            dict(type='FeatureQueueHook', start_epoch='${queue_start_epoch}'),
            dict(type='PrototypesHook', frozen_iters='${frozen_prototype_iters}'),
            '${weights_hook if checkpoint else None}',
        ],
    ),
    attention=dict(
        load_from='${pretrained}',
        custom_hooks=[
            dict(type='FeatureQueueHook', start_epoch=0),
            dict(type='PrototypesHook'),
            '${weights_hook if checkpoint else None}',
        ],
    ),
    finetune=dict(load_from='${pretrained}', model=dict(decode_head='${decode_head}')),
)
