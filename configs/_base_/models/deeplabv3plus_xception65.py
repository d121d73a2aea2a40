# DeepLabv3+ on Xception-65 of timm (pip install timm). Output stride 16; the map at stride 4 lies
# before the strided convolution of the second block, as in the DeepLabv3+ paper.
_base_ = './deeplabv3plus_v1c_resnet50.py'
checkpoint = 'checkpoints/xception65.pth'
backbone = dict(
    _delete_=True,
    type='TIMMFeatureMaps',
    model_name='xception65',
    out_indices=(1, 4),
    output_stride=16,
    init_cfg=dict(type='Pretrained', checkpoint='${checkpoint}', prefix='backbone.'),
)
