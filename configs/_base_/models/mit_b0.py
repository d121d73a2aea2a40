# MiT-B0 of SegFormer. Views need at least 32 pixels: at stride 4 keys are averaged over 8 x 8.
backbone = dict(
    type='MixVisionTransformer',
    embed_dims=32,
    num_stages=4,
    num_layers=[2, 2, 2, 2],
    num_heads=[1, 2, 5, 8],
    patch_sizes=[7, 3, 3, 3],
    sr_ratios=[8, 4, 2, 1],
    out_indices=(0, 1, 2, 3),
    drop_path_rate=0.1,
)
in_index = 3  # which backbone output is the deep feature map
feature_channels = 256
shallow_channels = 160  # of stage 3: widths do not double here
output_channels = [32, 64, '${shallow_channels}', '${feature_channels}']  # for a pyramid head
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
