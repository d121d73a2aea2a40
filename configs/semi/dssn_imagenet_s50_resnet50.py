"""DSSN on ImageNet-S50, DeepLabv3+ on ResNet-50: the masks of train-semi and all images of train.

Run     bash tools/dist_train.sh configs/semi/dssn_imagenet_s50_resnet50.py 4 --cfg-options \
            data_root=DATA/ImageNetS50 checkpoint=FILE.pth
        (FILE.pth: a pretraining of ours, or weights converted by tools/convert_checkpoint.py)
Time    not measured
Score   none published; ours not measured
Labels  train-semi masks: training; validation masks: scoring. Predicted ids are category ids:
        nothing is matched (protocol semi)
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/semi_imagenet_s.py',
    '../_base_/models/deeplabv3plus_resnet50.py',
    '../_base_/schedules/schedule_dssn_imagenet_s.py',
    '../_base_/dssn_stage.py',
]

stages = dict(supervised=dict(model=dict(type='LUSSSegmentor', loss_stride='${loss_stride}')))
