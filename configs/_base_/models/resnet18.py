# ResNet-18 in torchvision style; S50 in the PASS paper.
backbone = dict(
    type='ResNet',
    depth=18,
    num_stages=4,
    out_indices=(0, 1, 2, 3),
    strides=(1, 2, 2, 2),
    dilations=(1, 1, 1, 1),
    norm_cfg=dict(type='BN', requires_grad=True),  # synchronised over GPUs by the runner
    norm_eval=False,
    style='pytorch',
)
in_index = 3  # which backbone output is the deep feature map
feature_channels = 512
hidden_channels = 512  # of the projection MLPs
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
