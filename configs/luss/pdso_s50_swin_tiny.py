"""PDSO on ImageNet-S50, Swin-T.

Run     bash tools/dist_train.sh configs/luss/pdso_s50_swin_tiny.py 8 --cfg-options \
            data_root=DATA/ImageNetS50 segmenter.checkpoint=sam_vit_b_01ec64.pth
        use_dff=False use_csd=False use_spo=False is PASS;
        checkpoint=FILE skips pretraining (the names of mmseg's Swin);
        use_pyramid_head=True fine-tunes SegFormer's head, with pyramid_head.type=UPerHead UPerNet's
Time    not measured (tools/estimate.py with --measure times each step)
Score   not measured; no paper has one
Labels  validation masks for matching and scoring only; SAM was trained on human masks
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/swin_tiny.py',
    '../_base_/datasets/imagenet_s.py',
    '../_base_/schedules/schedule_pass_s50_adamw.py',
    '../_base_/adamw_stages.py',
]

data_root = 'data/ImageNetS50'
num_categories = 50
