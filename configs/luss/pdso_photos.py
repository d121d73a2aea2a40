"""PDSO on a folder of photographs, from weights that were trained before.

Run     python tools/train.py configs/luss/pdso_photos.py --cfg-options data_root=DIR
        num_categories=K; DIR holds images, or train/ and with masks validation/; see
        docs/own_folder.md
Time    584 s for 452 photographs, validation included, on two CPU cores that other jobs shared
Score   59.0 mIoU (58.7 to 59.2, three seeds) on 13 animals of Caltech-101 with
        check_labels=False; the plain baseline has 40.1 (38.0 to 42.3, five seeds), or 42.6 at 160
        pixels (docs/results.md)
Labels  ImageNet's labels trained the default weights; validation masks for matching and scoring
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/efficientnet_lite0.py',
    '../_base_/datasets/luss.py',
    '../_base_/schedules/schedule_photos.py',
    '../_base_/frozen_stages.py',
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
backbone = dict(out_indices=(2, 3, 4))  # strides 8, 16, 16
in_index = 2
shallow_heads = []
output_channels = [40, '${shallow_channels}', '${feature_channels}']
num_workers = 2
amp = False  # the head is small: bfloat16 takes twice as long on a CPU that has it
