"""PASS on ImageNet-S50, ResNet-18.

Run     bash tools/dist_train.sh configs/luss/pass_s50.py 8 --cfg-options data_root=DATA/ImageNetS50
        (on one GPU: python tools/train.py configs/luss/pass_s50.py --cfg-options data_root=...)
Time    not measured
Score   29.2 / 29.3 mIoU val / test, quoted from the PASS paper (with its validation sweep for the
        threshold: foreground_threshold=.41); ours not measured
Labels  validation masks for matching and scoring only
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/resnet18.py',
    '../_base_/datasets/imagenet_s.py',
    '../_base_/schedules/schedule_pass_s50.py',
    '../_base_/pass_stages.py',
]

data_root = 'data/ImageNetS50'
num_categories = 50
