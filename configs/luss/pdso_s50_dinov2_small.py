"""PDSO on ImageNet-S50 without pretraining: DINOv2's ViT-S/14 (the version without registers).

Run     python tools/convert_checkpoint.py dinov2 dinov2_vits14_pretrain.pth \
            checkpoints/dinov2_vits14.pth
        bash tools/dist_train.sh configs/luss/pdso_s50_dinov2_small.py 8 --cfg-options \
            data_root=DATA/ImageNetS50 segmenter.checkpoint=sam_vit_b_01ec64.pth
        use_dff=False use_csd=False use_spo=False is PASS; with use_dff=False and
        backbone.frozen_stages=12 the backbone keeps DINOv2's weights to the end
Time    not measured
Score   not measured; no paper has one
Labels  validation masks for matching and scoring only; SAM was trained on human masks
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/vit_small_dinov2.py',
    '../_base_/datasets/imagenet_s.py',
    '../_base_/schedules/schedule_pass_s50_adamw.py',
    '../_base_/adamw_stages.py',
]

data_root = 'data/ImageNetS50'
num_categories = 50
attention_upsample = 2  # 32 x 32 pixels, about as a ResNet's 4 times 7 x 7
checkpoint = 'checkpoints/dinov2_vits14.pth'
resize_side = 252  # whole patches of 14
