# For images of about 100 pixels: DeepLabv3+ on the network of pass_folder.py, ResNet-18 at half
# width. Rates as for stride 16 would reach beyond a map of 6 x 6.
_base_ = './deeplabv3plus_resnet50.py'
checkpoint = 'work_dirs/pass_folder/pretrain/final.pth'
backbone = dict(
    depth=18,
    base_channels=32,
    stem_channels=32,
    dilations=(1, 1, 1, 1),
    contract_dilation=False,
)
feature_channels = 256
shallow_channels = 32
head_channels = 64
decode_head = dict(dilations=(1, 2, 4), c1_channels=16)
