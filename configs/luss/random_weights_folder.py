"""The baseline of pass_folder.py: the same steps on a backbone with random weights.

Run     python tools/train.py configs/luss/random_weights_folder.py \
            --cfg-options data_root=DIR num_categories=14
Time    see docs/results.md
Score   see docs/results.md
Labels  validation masks for matching and scoring only
"""

_base_ = './pass_folder.py'

stage_order = ['attention', 'finetune']
pretrained = None  # both begin with random weights
