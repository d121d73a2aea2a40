# The wide ResNet-50 of PASS and SwAV: `width` times as many channels everywhere (w2, w4, w5).
_base_ = './resnet50.py'
width = 2
backbone = dict(base_channels='${64 * width}', stem_channels='${64 * width}')
feature_channels = '${2048 * width}'
