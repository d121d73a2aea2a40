# ViT-B/16 under layer norm and a 1x1 convolution. Position embeddings lie on the 14 x 14 patches of
# pretraining and are interpolated to the patches of each input.
backbone = dict(
    type='mmpretrain.VisionTransformer',
    arch='base',
    img_size=224,
    patch_size=16,
    out_indices=[-1],
    out_type='featmap',
    final_norm=False,  # the head has a new one
    drop_path_rate=0.1,
)
feature_channels = 768
size_divisor = 16  # inputs are padded to whole patches
loss_stride = 8  # logits at 1/16, doubled
decode_head = dict(
    type='LinearHead',
    in_channels='${feature_channels}',
    num_classes='${num_categories + 1}',
    norm_cfg=dict(type='LN', eps=1e-6),
    dropout_ratio=0.0,
    align_corners=False,
    ignore_index='${ignore_index}',
    loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    init_cfg=dict(type='TruncNormal', std=2e-5, override=dict(name='conv_seg')),
)
