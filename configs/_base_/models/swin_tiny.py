# Swin-T of mmseg. Sizes that are no multiple of the window are padded by the network itself.
backbone = dict(
    type='SwinTransformer',
    embed_dims=96,
    depths=(2, 2, 6, 2),
    num_heads=(3, 6, 12, 24),
    window_size=7,
    out_indices=(0, 1, 2, 3),
    drop_path_rate=0.1,
)
in_index = 3  # which backbone output is the deep feature map
feature_channels = 768
output_channels = [  # of all outputs, for a pyramid head
    '${feature_channels // 8}',
    '${feature_channels // 4}',
    '${feature_channels // 2}',
    '${feature_channels}',
]
hidden_channels = '${feature_channels}'  # of the projection MLPs, as in PASS
embedding_channels = 128
shallow_heads = [
    dict(
        type='DeepToShallowHead',
        in_index=2,
        in_channels='${feature_channels // 2}',
        hidden_channels='${hidden_channels}',
        embedding_channels='${embedding_channels}',
    )
]
# Each output has a norm of its own, and no stage reads all of them: several GPUs must know.
find_unused_parameters = True
