# The head of fcn_vit_base.py on ViT-S/16.
_base_ = './fcn_vit_base.py'
backbone = dict(arch='deit-small')
feature_channels = 384
