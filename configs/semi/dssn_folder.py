"""DSSN on a folder with a few masks: the network of pass_folder.py under a small DeepLabv3+.

Run     python tools/train.py configs/semi/dssn_folder.py --cfg-options data_root=DIR \
            num_categories=13 checkpoint=work_dirs/pass_folder/pretrain/final.pth
Time    caltech13: 1881 iterations of 0.6 s on one core, measured on 2 CPU cores (AMD EPYC), no GPU,
        2026-11-21
Score   see docs/results.md
Labels  train-semi masks: training; validation masks: scoring. Predicted ids are category ids:
        nothing is matched (protocol semi)
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/semi_own_folder.py',
    '../_base_/models/deeplabv3plus_small.py',
    '../_base_/schedules/schedule_dssn_folder.py',
    '../_base_/dssn_stage.py',
]

num_workers = 2
# As for pass_folder.py: steps are few, and SGD had hardly begun after a hundred.
optimizer = dict(_delete_=True, type='AdamW', lr='${base_lr}', weight_decay=0.05)
stages = dict(
    supervised=dict(model=dict(type='LUSSSegmentor', loss_stride='${loss_stride}')),
    dssn=dict(model=dict(momentum='${teacher_momentum}')),
)
