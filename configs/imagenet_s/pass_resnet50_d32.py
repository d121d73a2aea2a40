"""PASS ResNet-50 at stride 32 (SSL), fine-tuned on 1 % of ImageNet-S.

Run     bash tools/dist_train.sh configs/imagenet_s/pass_resnet50_d32.py 8 --cfg-options \
            data_root=DATA/ImageNetS919 checkpoint=FILE.pth
        (FILE.pth: the published weights, converted by tools/convert_checkpoint.py)
Time    not measured
Score   21.0 / 20.3 mIoU val / test, quoted from ImageNetSegModel; ours not measured
Labels  train-semi masks: training; validation masks: scoring. Predicted ids are category ids:
        nothing is matched (protocol semi)
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/imagenet_s_semi.py',
    '../_base_/models/linear_resnet50.py',
    '../_base_/schedules/schedule_semi_100_epochs.py',
    '../_base_/semi_stage.py',
]

checkpoint = 'checkpoints/pass919_pretrained.pth'
layer_decay = 0.4
weight_decay = 0.0005
drop_last = False  # the authors keep the last, smaller batch
decode_head = dict(upsample=2)
