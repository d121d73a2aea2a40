"""MAE ViT-B/16 (SSL), fine-tuned on 1 % of ImageNet-S.

Run     bash tools/dist_train.sh configs/imagenet_s/mae_vit_base_ssl.py 8 --cfg-options \
            data_root=DATA/ImageNetS919 checkpoint=FILE.pth
        (FILE.pth: the published weights, converted by tools/convert_checkpoint.py)
Time    not measured
Score   38.3 / 37.0 mIoU val / test, quoted from ImageNetSegModel; ours not measured
Labels  train-semi masks: training; validation masks: scoring. Predicted ids are category ids:
        nothing is matched (protocol semi)
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/imagenet_s_semi.py',
    '../_base_/models/linear_vit_base.py',
    '../_base_/schedules/schedule_semi_100_epochs.py',
    '../_base_/semi_stage.py',
]

checkpoint = 'checkpoints/mae_pretrain_vit_base.pth'
base_lr = 5e-4
layer_decay = 0.6
drop_last = False  # the authors keep the last, smaller batch
