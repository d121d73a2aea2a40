"""The baseline of pass_tiny.py: the same steps on a backbone with random weights.

Run     python tools/train.py configs/luss/random_weights_tiny.py
Time    see docs/results.md
Score   see docs/results.md
Labels  validation masks for matching and scoring only
"""

_base_ = './pass_tiny.py'

stage_order = ['data', 'attention', 'finetune']
stages = dict(
    attention=dict(load_from=None),
    finetune=dict(load_from='${work_dir}/attention/final.pth'),  # the same random backbone
)
