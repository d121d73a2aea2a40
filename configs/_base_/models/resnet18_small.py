# For images of about 100 pixels: ResNet-18 at half width and stride 16.
_base_ = './resnet18.py'
backbone = dict(strides=(1, 2, 2, 1), base_channels=32, stem_channels=32)
feature_channels = 256
hidden_channels = 256
