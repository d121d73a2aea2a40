"""PASS on a folder of photographs, from weights that were trained before.

Run     python tools/train.py configs/luss/pass_photos.py --cfg-options data_root=DIR
        num_categories=K; DIR holds images, or train/ and with masks validation/; see
        docs/own_folder.md
Time    4.4 to 8.7 minutes for 452 photographs on two CPU cores that other jobs shared
Score   57.6 mIoU (57.4 to 57.7, three seeds) on 13 animals of Caltech-101 with
        check_labels=False; the plain baseline has 40.1 (38.0 to 42.3, five seeds), or 42.6 at 160
        pixels (docs/results.md)
Labels  ImageNet's labels trained the default weights; validation masks for matching and scoring
"""

_base_ = './pdso_photos.py'

use_spo = False
