"""DSSN on photographs with a few masks: a head on a frozen backbone that was trained before.

Run     python tools/train.py configs/semi/dssn_photos.py --cfg-options data_root=DIR \
            num_categories=13
Time    see docs/results.md
Score   see docs/results.md
Labels  ImageNet's labels trained the backbone; train-semi masks: training; validation masks:
        scoring. Predicted ids are category ids: nothing is matched (protocol semi)
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/semi_own_folder.py',
    '../_base_/models/pooled_efficientnet_lite0.py',
    '../_base_/schedules/schedule_dssn_photos.py',
    '../_base_/dssn_stage.py',
]

image_mean = [127.5, 127.5, 127.5]  # Lite0 was trained on pixels in [-1, 1]
image_std = [127.5, 127.5, 127.5]
resize_side = 160
num_workers = 2
amp = False  # the head is small: bfloat16 takes twice as long on a CPU that has it
optimizer = dict(_delete_=True, type='AdamW', lr='${base_lr}', weight_decay=0.05)
stages = dict(
    supervised=dict(model=dict(type='LUSSSegmentor', loss_stride='${loss_stride}')),
    dssn=dict(model=dict(momentum='${teacher_momentum}')),
)
