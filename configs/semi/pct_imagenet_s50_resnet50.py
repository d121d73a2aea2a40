"""Learning Pseudo Labels on ImageNet-S50, DeepLabv3+ on ResNet-50.

Run     python tools/train.py configs/semi/pct_imagenet_s50_resnet50.py --cfg-options \
            data_root=DATA/ImageNetS50 checkpoint=FILE.pth
        (FILE.pth: a pretraining of ours, or weights converted by tools/convert_checkpoint.py)
Time    not measured
Score   none published; ours not measured
Labels  train-semi masks: training, copied into the label maps; category folders of train: image
        tags for training; image tags of the validation images (from their masks): H and P predict
        nothing else; validation masks: scoring. Predicted ids are category ids: nothing is matched.
        The tags make this protocol free, not semi
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/semi_imagenet_s.py',
    '../_base_/models/deeplabv3plus_resnet50.py',
    '../_base_/schedules/schedule_pct_imagenet_s.py',
    '../_base_/pct_stages.py',
]

image_tags = 'folders'
validation_dataset = dict(tags='${validation_tags}')
validation_pipeline = '${whole_labelled_pipeline}'
checkpoint_interval = 1000  # iterations
