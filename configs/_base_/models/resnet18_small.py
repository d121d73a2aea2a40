# For images of about 100 pixels: the first three stages of ResNet-18 at half width, stride 8.
# At stride 16 or 32 the map would have 6 x 6 cells or less, each of which sees the whole image.
norm_cfg = dict(type='BN', requires_grad=True)
backbone = dict(
    type='ResNet',
    depth=18,
    num_stages=3,
    out_indices=(0, 1, 2),
    strides=(1, 2, 1),
    dilations=(1, 1, 1),
    base_channels=32,
    stem_channels=32,
    norm_cfg='${norm_cfg}',
    norm_eval=False,
    style='pytorch',
)
in_index = 2
feature_channels = 128
hidden_channels = 256
embedding_channels = 128
shallow_heads = [
    dict(
        type='DeepToShallowHead',
        in_index=1,
        in_channels='${feature_channels // 2}',
        hidden_channels='${hidden_channels}',
        embedding_channels='${embedding_channels}',
    )
]
