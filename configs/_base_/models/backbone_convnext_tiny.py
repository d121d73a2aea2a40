# ConvNeXt-T of mmpretrain, which by default averages each output over the image: not here.
_base_ = './swin_tiny.py'  # the same widths
backbone = dict(
    _delete_=True,
    type='mmpretrain.ConvNeXt',
    arch='tiny',
    out_indices=[0, 1, 2, 3],
    gap_before_final_norm=False,
    drop_path_rate=0.1,
)
