# DeepLabv3+ on ResNet-101 as DSSN and Learning Pseudo Labels have it.
_base_ = './deeplabv3plus_v1c_resnet50.py'
checkpoint = 'checkpoints/resnet101_v1c.pth'
backbone = dict(depth=101)
