# DeepLabv3+ on ResNet-50 in torchvision style. As DSSN has it: output stride 16, with the dilations
# 6, 12 and 18 that belong to it, and no dropout before the classifier.
checkpoint = 'checkpoints/resnet50.pth'
backbone = dict(
    type='ResNet',
    depth=50,
    num_stages=4,
    out_indices=(0, 1, 2, 3),
    strides=(1, 2, 2, 1),
    # As torchvision dilates: the first block of the last stage keeps the dilation before it.
    dilations=(1, 1, 1, 2),
    contract_dilation=True,
    norm_cfg=dict(type='BN', requires_grad=True),  # synchronised over GPUs by the runner
    norm_eval=False,
    style='pytorch',
    init_cfg=dict(type='Pretrained', checkpoint='${checkpoint}', prefix='backbone.'),
)
feature_channels = 2048
shallow_channels = 256  # of the first output, at stride 4
head_channels = 256
decode_head = dict(
    type='DepthwiseSeparableASPPHead',
    in_index=-1,
    in_channels='${feature_channels}',
    channels='${head_channels}',
    dilations=(1, 6, 12, 18),
    c1_in_channels='${shallow_channels}',
    c1_channels=48,
    num_classes='${num_classes}',
    norm_cfg=dict(type='BN', requires_grad=True),
    dropout_ratio=0.0,
    align_corners=False,
    ignore_index='${ignore_index}',
    loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
)
segmentor = dict(
    type='EncoderDecoder',
    backbone='${backbone}',
    decode_head='${decode_head}',
    train_cfg=dict(),
    test_cfg='${inference}',
)
