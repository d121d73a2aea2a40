"""PDSO on any folder of images, without labels: its own pretraining, GrabCut in the place of SAM.

Run     python tools/train.py configs/luss/pdso_folder.py --cfg-options data_root=DIR
        DIR holds images, or train/ and with masks validation/; see docs/own_folder.md
        use_dff=True, use_csd=True turn the other two parts of PDSO on; with a SAM checkpoint
        "segmenter.type=SAMSegmenter" segmenter.checkpoint=FILE segmenter.model_type=vit_b
Time    see docs/results.md
Score   see docs/results.md
Labels  validation masks for matching and scoring only; none without validation/
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/resnet18_small.py',
    '../_base_/datasets/luss.py',
    '../_base_/schedules/schedule_pass_folder.py',
    '../_base_/frozen_stages.py',
]

# None: found by looking at data_root, and printed.
train_split = None  # 'train' if there is such a folder, else data_root itself
num_categories = None  # a rule of thumb for the number of images
evaluate = None  # whether there is a folder `validation`
resize_side = 160
crop_size = 160
map_outputs = [1, 2, 3]  # of strides 8, 16, 16
output_channels = [64, 128, '${feature_channels}']
gate_power = 0.5  # of a network that saw few photographs, long vectors are less sure
num_workers = 2
checkpoint_interval = 5
dff_epochs = 20  # of g and of h: short, like the rest of this schedule
