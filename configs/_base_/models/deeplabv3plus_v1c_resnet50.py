# DeepLabv3+ on ResNet-50 as DSSN and Learning Pseudo Labels have it: a stem of three convolutions
# of 3x3 (64, 64 and 128 channels), full convolutions in the head, corners aligned.
_base_ = './deeplabv3plus_resnet50.py'
checkpoint = 'checkpoints/resnet50_v1c.pth'
backbone = dict(type='ResNetV1c', stem_channels=128)
decode_head = dict(
    _delete_=True,
    type='DeepLabV3PlusHead',
    in_index=-1,
    in_channels='${feature_channels}',
    channels='${head_channels}',
    dilations=(1, 6, 12, 18),
    shallow_in_channels='${shallow_channels}',
    shallow_channels=48,
    num_classes='${num_classes}',
    norm_cfg=dict(type='BN', requires_grad=True),
    dropout_ratio=0.0,
    align_corners=True,
    ignore_index='${ignore_index}',
    loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
)
