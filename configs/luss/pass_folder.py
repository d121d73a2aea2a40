"""PASS on any folder of images: small images, short schedule.

Run     python tools/train.py configs/luss/pass_folder.py --cfg-options data_root=DIR
        DIR holds images, or train/ and with masks validation/; see docs/own_folder.md
Time    see docs/results.md
Score   see docs/results.md
Labels  validation masks for matching and scoring only; none without validation/
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/resnet18_small.py',
    '../_base_/datasets/luss.py',
    '../_base_/schedules/schedule_pass_folder.py',
    '../_base_/pass_stages.py',
]

# None: found by looking at data_root, and printed.
train_split = None  # 'train' if there is such a folder, else data_root itself
num_categories = None  # a rule of thumb for the number of images
evaluate = None  # whether there is a folder `validation`
resize_side = 96
crop_size = 96
num_workers = 2
checkpoint_interval = 5
