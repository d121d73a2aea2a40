"""PASS on any folder in the ImageNet-S layout: small images, short schedule.

Run     python tools/train.py configs/luss/pass_folder.py \
            --cfg-options data_root=DIR num_categories=14
Time    see docs/results.md
Score   see docs/results.md
Labels  validation masks for matching and scoring only; evaluate=False needs none
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/resnet18_small.py',
    '../_base_/datasets/luss.py',
    '../_base_/schedules/pass_folder.py',
    '../_base_/pass_stages.py',
]

resize_side = 96
crop_size = 96
num_workers = 2
checkpoint_interval = 5
