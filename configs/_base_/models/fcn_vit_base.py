# mmseg's head of the recipes of 3,600 iterations: FCNHead with one convolution of 3 x 3, which sees
# the features twice (num_convs=0). The layer norm before it is the pretrained one.
_base_ = './linear_vit_base.py'
backbone = dict(final_norm=True)
decode_head = dict(
    type='FCNHead',
    channels='${feature_channels}',
    num_convs=0,
    norm_cfg=dict(_delete_=True, type='BN', requires_grad=True),
)
