# ConvNeXt-T under its layer norm and a 1x1 convolution that classifies each position 4 x 4 times.
backbone = dict(
    type='mmpretrain.ConvNeXt',
    arch='tiny',
    out_indices=[3],
    gap_before_final_norm=False,
    drop_path_rate=0.2,
)
feature_channels = 768
size_divisor = 32
loss_stride = 4  # logits at 1/8, doubled
decode_head = dict(
    type='LinearHead',
    in_channels='${feature_channels}',
    num_classes='${num_categories + 1}',
    patch_size=4,
    dropout_ratio=0.0,
    align_corners=False,
    ignore_index='${ignore_index}',
    loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    init_cfg=dict(type='TruncNormal', std=0.02, override=dict(name='conv_seg')),
)
