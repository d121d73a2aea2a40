"""SERE ViT-S/16 (SSL) on 1 % of ImageNet-S, as MMSegmentation trains it: 3600 iterations.

Run     bash tools/dist_train.sh configs/imagenet_s/sere_vit_small_ssl_3600.py 8 --cfg-options \
            data_root=DATA/ImageNetS919 checkpoint=FILE.pth
        (FILE.pth: the published weights, converted by tools/convert_checkpoint.py)
Time    not measured
Score   40.9 / 40.7 mIoU val / test, quoted from MMSegmentation's README; ours not measured
        (an older table of theirs swaps the two rows of SERE)
Labels  train-semi masks: training; validation masks: scoring. Predicted ids are category ids:
        nothing is matched (protocol semi)

Their FCN head has one convolution of 3 x 3, which sees the features twice (FCNHead, num_convs=0).
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/imagenet_s_semi.py',
    '../_base_/models/fcn_vit_small.py',
    '../_base_/schedules/schedule_semi_3600_iterations.py',
    '../_base_/semi_stage.py',
]

checkpoint = 'checkpoints/sere_pretrained_vit_small_ep100.pth'
base_lr = 5e-4
layer_decay = 0.5
checkpoint_interval = 360  # iterations
