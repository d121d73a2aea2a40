"""Learning Pseudo Labels on photographs: a few masks, category folders of train as image tags.

Run     python tools/train.py configs/semi/pct_photos.py --cfg-options data_root=DIR \
            num_categories=13
Time    see docs/results.md
Score   see docs/results.md
Labels  ImageNet's labels trained the backbone; train-semi masks: training, copied into the label
        maps; category folders of train: image tags for training; image tags of the validation
        images (from their masks; or validation_tags=folders): H and P predict nothing else;
        validation masks: scoring. Predicted ids are category ids: nothing is matched. The tags make
        this protocol free, not semi
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/semi_own_folder.py',
    '../_base_/models/pooled_efficientnet_lite0.py',
    '../_base_/schedules/schedule_pct_photos.py',
    '../_base_/pct_stages.py',
]

image_mean = [127.5, 127.5, 127.5]  # Lite0 was trained on pixels in [-1, 1]
image_std = [127.5, 127.5, 127.5]
resize_side = 160
image_tags = 'folders'
validation_dataset = dict(tags='${validation_tags}')
validation_pipeline = '${whole_labelled_pipeline}'
checkpoint_interval = 100  # iterations
optimizer = dict(_delete_=True, type='AdamW', lr='${base_lr}', weight_decay='${weight_decay}')
retrain_optimizer = dict(
    _delete_=True, type='AdamW', lr='${retrain_lr}', weight_decay='${weight_decay}'
)
num_workers = 2
amp = False  # the head is small: bfloat16 takes twice as long on a CPU that has it
