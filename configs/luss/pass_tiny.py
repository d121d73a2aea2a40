"""PASS on images that it renders itself: the five-minute tour and the end-to-end test.

Run     python tools/train.py configs/luss/pass_tiny.py
Time    see docs/results.md
Score   see docs/results.md
Labels  validation masks for matching and scoring only
"""

_base_ = './pdso_tiny.py'

# PDSO without its three parts is PASS.
use_dff = False
use_csd = False
use_spo = False
