# ResNet-50 in torchvision style; S300 and S919 in the PASS paper. Wide ones of PASS and SwAV (w2,
# w4, w5) have `width` times as many channels everywhere.
_base_ = './resnet18.py'
width = 1  # 2, 4 or 5 times the channels of ResNet-50
backbone = dict(depth=50, base_channels='${64 * width}', stem_channels='${64 * width}')
feature_channels = '${2048 * width}'
hidden_channels = 2048
