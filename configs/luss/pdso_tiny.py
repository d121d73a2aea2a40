"""PDSO on images that it renders itself, with GrabCut in the place of SAM.

Run     python tools/train.py configs/luss/pdso_tiny.py
Time    see docs/results.md
Score   see docs/results.md
Labels  validation masks for matching and scoring only
"""

_base_ = './pass_tiny.py'

use_dff = True
use_csd = True
use_spo = True
stage_order = ['data', 'pretrain', 'attention', 'dff_f', 'dff_g', 'dff_h', 'finetune']
dff_epochs = 20  # of g and of h: short, like the rest of this schedule
sigma = 0.1
segmenter = dict(_delete_=True, type='GrabCutSegmenter')
