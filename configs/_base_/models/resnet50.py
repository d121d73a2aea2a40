# ResNet-50 in torchvision style; S300 and S919 in the PASS paper.
_base_ = './resnet18.py'
backbone = dict(depth=50)
feature_channels = 2048
hidden_channels = 2048
