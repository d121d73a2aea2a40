# DeepLabv3+ on ResNet-101 in torchvision style.
_base_ = './deeplabv3plus_resnet50.py'
checkpoint = 'checkpoints/resnet101.pth'
backbone = dict(depth=101)
