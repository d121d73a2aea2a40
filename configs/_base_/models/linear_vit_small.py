# ViT-S/16 under layer norm and a 1x1 convolution.
_base_ = './linear_vit_base.py'
backbone = dict(arch='deit-small')
feature_channels = 384
