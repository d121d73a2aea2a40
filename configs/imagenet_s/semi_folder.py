"""A folder with a few masks: the network of pass_folder.py, fine-tuned on `train-semi`.

Run     python tools/train.py configs/imagenet_s/semi_folder.py --cfg-options data_root=DIR \
            num_categories=14 checkpoint=work_dirs/pass_folder/pretrain/final.pth
Time    see docs/results.md
Score   see docs/results.md
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

data_root = 'data/images'
num_categories = 50
checkpoint = 'work_dirs/pass_folder/pretrain/final.pth'
backbone = dict(depth=18, strides=(1, 2, 2, 1), base_channels=32, stem_channels=32)
feature_channels = 256
loss_stride = 2
resize_side = 96
crop_size = 96
num_workers = 2
stored_pixels = False  # images as people see them
checkpoint_interval = 20
batch_size = 16
auto_scale_lr = dict(enable=False)
base_lr = 1e-3
layer_decay = 0.65
weight_decay = 0.05
training_dataset = dict(
    _delete_=True,
    type='LUSSDataset',
    data_root='${data_root}',
    data_prefix=dict(img_path='train-semi', seg_map_path='train-semi-segmentation'),
    ignore_index='${ignore_index}',
    seed='${seed}',
    pipeline='${training_pipeline}',
)
validation_dataset = dict(
    _delete_=True,
    type='LUSSDataset',
    data_root='${data_root}',
    data_prefix=dict(img_path='validation', seg_map_path='validation-segmentation'),
    categories='folders',
    ignore_index='${ignore_index}',
    seed='${seed}',
    test_mode=True,
    pipeline='${validation_pipeline}',
)
