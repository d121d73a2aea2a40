# ResNet-50 in torchvision style under a 1x1 convolution. (0, 1, 2, 3) is stride 32, D32.
backbone = dict(
    type='ResNet',
    depth=50,
    num_stages=4,
    out_indices=(0, 1, 2, 3),
    strides=(1, 2, 2, 2),
    dilations=(1, 1, 1, 1),
    norm_cfg=dict(type='BN', requires_grad=True),  # synchronised over GPUs by the runner
    norm_eval=False,
    style='pytorch',
)
feature_channels = 2048
size_divisor = 1
loss_stride = 8  # logits at 1/32, doubled by the authors' network and again by their loss
decode_head = dict(
    type='LinearHead',
    in_index=3,
    in_channels='${feature_channels}',
    num_classes='${num_categories + 1}',
    dropout_ratio=0.0,
    align_corners=False,
    ignore_index='${ignore_index}',
    loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    init_cfg=dict(type='Kaiming', override=dict(name='conv_seg')),
)
