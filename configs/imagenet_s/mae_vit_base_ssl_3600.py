"""MAE ViT-B/16 (SSL) on 1 % of ImageNet-S, as MMSegmentation trains it: 3600 iterations.

Run     bash tools/dist_train.sh configs/imagenet_s/mae_vit_base_ssl_3600.py 8 --cfg-options \
            data_root=DATA/ImageNetS919 checkpoint=FILE.pth
        (FILE.pth: the published weights, converted by tools/convert_checkpoint.py)
Time    not measured
Score   40.4 / 40.1 mIoU val / test, quoted from MMSegmentation's README; ours not measured
Labels  train-semi masks: training; validation masks: scoring. Predicted ids are category ids:
        nothing is matched (protocol semi)

Their FCN head has one convolution of 3 x 3, which sees the features twice (FCNHead, num_convs=0).
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/imagenet_s_semi.py',
    '../_base_/models/fcn_vit_base.py',
    '../_base_/schedules/schedule_semi_3600_iterations.py',
    '../_base_/semi_stage.py',
]

checkpoint = 'checkpoints/mae_pretrain_vit_base.pth'
base_lr = 5e-4
layer_decay = 0.6
checkpoint_interval = 360  # iterations
