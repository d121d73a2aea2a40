"""PASS on any folder of images, without labels: its own pretraining, short schedule.

Run     python tools/train.py configs/luss/pass_folder.py --cfg-options data_root=DIR
        DIR holds images, or train/ and with masks validation/; see docs/own_folder.md
Time    see docs/results.md
Score   see docs/results.md
Labels  validation masks for matching and scoring only; none without validation/
"""

_base_ = './pdso_folder.py'

use_spo = False
