"""PDSO on a folder of photographs, from weights that were trained before.

Run     python tools/train.py configs/luss/pdso_photos.py --cfg-options data_root=DIR
        num_categories=K; DIR holds images, or train/ and with masks validation/; see
        docs/own_folder.md
Time    see docs/results.md
Score   see docs/results.md
Labels  ImageNet's labels trained the default weights; validation masks for matching and scoring
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/efficientnet_lite0.py',
    '../_base_/datasets/luss.py',
    '../_base_/schedules/photos.py',
    '../_base_/foreground_stages.py',
]

checkpoint = 'package:efficientnet_lite0'  # or any file of tools/convert_checkpoint.py
image_mean = [127.5, 127.5, 127.5]  # Lite0 was trained on pixels in [-1, 1]
image_std = [127.5, 127.5, 127.5]

# None: found by looking at data_root, and printed.
train_split = None  # 'train' if there is such a folder, else data_root itself
num_categories = None  # a rule of thumb for the number of images
evaluate = None  # whether there is a folder `validation`
resize_side = 256
crop_size = 256
num_workers = 2
use_dff = False
use_csd = False
segmenter = dict(_delete_=True, type='GrabCutSegmenter')
