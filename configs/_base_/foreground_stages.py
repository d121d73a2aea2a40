# PASS and PDSO with another foreground than PASS's gates, and pixels labelled by their
# neighbourhood. Everything else is as in any_backbone_stages.py.
_base_ = './any_backbone_stages.py'

# Where the object is, without labels. 'length': the length of a pixel's feature vector, scaled to
# 0..1 in its image, nothing to train; 'attention': PASS's gates.
foreground = 'length'
gate_power = 2.0  # embeddings are GAP(F * gates^power)
label_window = 0.5  # radius of a pixel's neighbourhood, as a share of the short side; 0: none
sharpen_radius = 0.25  # of the guided filter on scores, as a share of the short side; 0: none
pooling = dict(
    gate_power='${gate_power}', label_window='${label_window}', sharpen_radius='${sharpen_radius}'
)
foreground_epochs = "${0 if foreground == 'length' else attention_epochs}"
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
queue_hook = dict(type='FeatureQueueHook', start_epoch=0)
prototypes_hook = dict(type='PrototypesHook')
attended_classifier = dict(
    foreground="${length_head if foreground == 'length' else None}", pooling='${pooling}'
)

stages = dict(
    attention=dict(
        model="${length_model if foreground == 'length' else gate_model}",
        train_cfg=dict(max_epochs='${foreground_epochs}'),
        custom_hooks=[
            "${queue_hook if foreground == 'attention' else None}",
            "${prototypes_hook if foreground == 'attention' else None}",
            '${weights_hook if checkpoint else None}',
        ],
    ),
)
