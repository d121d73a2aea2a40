# ViT-S/16 of mmpretrain. All its maps have stride 16; what PASS takes from stage 3 of a ResNet
# comes from block 9 of 12. Position embeddings are those of img_size, interpolated for others.
backbone = dict(
    type='mmpretrain.VisionTransformer',
    arch='deit-small',
    img_size=224,
    patch_size=16,
    out_indices=[2, 5, 8, 11],
    out_type='featmap',
    drop_path_rate=0.1,
)
in_index = 3  # which backbone output is the deep feature map
feature_channels = 384
output_channels = ['${feature_channels}'] * 4  # of all outputs, for a pyramid head
hidden_channels = '${feature_channels}'  # of the projection MLPs, as in PASS
embedding_channels = 128
shallow_heads = [
    dict(
        type='DeepToShallowHead',
        in_index=2,
        in_channels='${feature_channels}',
        hidden_channels='${hidden_channels}',
        embedding_channels='${embedding_channels}',
    )
]
