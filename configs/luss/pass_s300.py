"""PASS on ImageNet-S300, ResNet-50.

Run     bash tools/dist_train.sh configs/luss/pass_s300.py 8 \
            --cfg-options data_root=DATA/ImageNetS300
Time    not measured
Score   18.0 / 18.1 mIoU val / test, quoted from the PASS paper (threshold .40 from its validation
        sweep); ours not measured
Labels  validation masks for matching and scoring only
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet_s.py',
    '../_base_/schedules/schedule_pass_s300.py',
    '../_base_/pass_stages.py',
]

data_root = 'data/ImageNetS300'
num_categories = 300
