"""PASS on a folder of photographs, from weights that were trained before.

Run     python tools/train.py configs/luss/pass_photos.py --cfg-options data_root=DIR
        num_categories=K; DIR holds images, or train/ and with masks validation/; see
        docs/own_folder.md
Time    see docs/results.md
Score   see docs/results.md
Labels  ImageNet's labels trained the default weights; validation masks for matching and scoring
"""

_base_ = './pdso_photos.py'

use_spo = False
