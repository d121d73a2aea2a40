"""ConvNeXt-T (supervised, patch 4), fine-tuned on 1 % of ImageNet-S.

Run     bash tools/dist_train.sh configs/imagenet_s/convnext_tiny.py 8 --cfg-options \
            data_root=DATA/ImageNetS919 checkpoint=FILE.pth
        (FILE.pth: the published weights, converted by tools/convert_checkpoint.py)
Time    not measured
Score   48.7 / 48.8 mIoU val / test, quoted from ImageNetSegModel; ours not measured
Labels  train-semi masks: training; validation masks: scoring. Predicted ids are category ids:
        nothing is matched (protocol semi). The pretrained weights have seen
        the image-level labels of ImageNet
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/imagenet_s_semi.py',
    '../_base_/models/linear_convnext_tiny.py',
    '../_base_/schedules/schedule_semi_100_epochs.py',
    '../_base_/semi_stage.py',
]

checkpoint = 'checkpoints/convnext_tiny_1k_224_ema.pth'
base_lr = 2.5e-4
layer_decay = 0.6
drop_last = False  # the authors keep the last, smaller batch
