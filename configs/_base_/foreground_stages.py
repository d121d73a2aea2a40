# PASS and PDSO with another foreground than PASS's gates, and pixels labelled by their
# neighbourhood. Everything else is as in any_backbone_stages.py.
_base_ = './any_backbone_stages.py'

# Where the object is, without labels. 'length': the length of a pixel's feature vector, scaled to
# 0..1 in its image, nothing to train; 'attention': PASS's gates; 'found': one 1x1 convolution that
# learns the sharpened foreground of 'length' (FOUND). None: 'attention' for a plain transformer
# that `backbone` names, whose vectors are all about equally long, else 'length'.
foreground = None
gate_power = 2.0  # embeddings are GAP(F * gates^power)
label_window = 0.5  # radius of a pixel's neighbourhood, as a share of the short side; 0: none
sharpen_radius = 0.25  # of the guided filter on scores, as a share of the short side; 0: none
image_threshold = True  # each image is cut at its own Otsu threshold, which becomes a score of .5
pooling = dict(
    gate_power='${gate_power}',
    label_window='${label_window}',
    sharpen_radius='${sharpen_radius}',
    image_threshold='${image_threshold}',
)
needs_projection = "${foreground == 'attention' if lacks_projection else False}"
found_epochs = 5  # of the one convolution of 'found'
# Share of the iterations after which the target of 'found' is its own foreground; 1: never, for .5
# lost 10 and 16 points of IoU (docs/methods/pass.md).
self_training_from = 1.0
found_optimizer = dict(type='AdamW', lr=0.05, weight_decay=0.01)
foreground_epochs = "${0 if foreground == 'length' else trained_epochs}"
# of whichever foreground is trained; the schedule of rates needs them to be above 0
trained_epochs = "${found_epochs if foreground == 'found' else attention_epochs}"
length_head = dict(type='FeatureLength')
length_model = dict(
    type='ForegroundModel',
    data_preprocessor='${views_preprocessor}',
    backbone='${backbone}',
    in_index='${in_index}',
    channels='${feature_channels}',
    upsample='${attention_upsample}',
    foreground='${length_head}',
    pooling='${pooling}',
)
gate_model = dict(
    type='PixelAttentionModel',
    data_preprocessor='${views_preprocessor}',
    backbone='${backbone}',
    in_index='${in_index}',
    channels='${feature_channels}',
    upsample='${attention_upsample}',
    head='${prototype_head}',
    queue_length='${attention_queue_length}',
    pooling='${pooling}',
)
found_head = dict(type='FoundHead', channels='${feature_channels}')
found_model = dict(
    type='FoundModel',
    data_preprocessor='${views_preprocessor}',
    backbone='${backbone}',
    in_index='${in_index}',
    channels='${feature_channels}',
    upsample='${attention_upsample}',
    foreground='${found_head}',
    pooling='${pooling}',
)
single_gate_head = "${found_head if foreground == 'found' else length_head}"
trained_model = "${found_model if foreground == 'found' else gate_model}"
found_pipeline = '${classifier_pipeline}'
attention_pipeline = ['${loading}', '${attention_cropping}']
self_training_hook = dict(type='SelfTrainingHook', start='${self_training_from}')
queue_hook = dict(type='FeatureQueueHook', start_epoch=0)
prototypes_hook = dict(type='PrototypesHook')
attended_classifier = dict(
    foreground="${None if foreground == 'attention' else single_gate_head}",
    pooling='${pooling}',
)

stages = dict(
    attention=dict(
        model="${length_model if foreground == 'length' else trained_model}",
        train_dataloader=dict(
            # Without training no batch need be full.
            batch_size="${1 if foreground == 'length' else batch_size}",
            dataset=dict(
                pipeline="${found_pipeline if foreground == 'found' else attention_pipeline}"
            ),
        ),
        optim_wrapper=dict(
            optimizer="${found_optimizer if foreground == 'found' else attention_optimizer}"
        ),
        param_scheduler=[
            dict(
                type='CosineAnnealingLR',
                T_max='${trained_epochs}',
                end='${trained_epochs}',
                eta_min='${attention_min_lr}',
                by_epoch=True,
                convert_to_iter_based=True,
            )
        ],
        train_cfg=dict(max_epochs='${foreground_epochs}'),
        custom_hooks=[
            "${queue_hook if foreground == 'attention' else None}",
            "${prototypes_hook if foreground == 'attention' else None}",
            "${self_training_hook if foreground == 'found' else None}",
            '${weights_hook if checkpoint else None}',
        ],
    ),
)
