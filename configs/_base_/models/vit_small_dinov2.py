# ViT-S/14 as DINOv2 publishes it: layer scale, and position embeddings on 37 x 37 patches. img_size
# must be theirs for the checkpoint to fit; every input then has them interpolated to its own size.
_base_ = './vit_small.py'
backbone = dict(img_size=518, patch_size=14, layer_scale_init_value=1.0)
