"""PASS pretraining on Tiny ImageNet's small photographs, on CPU cores: weights that saw no label.

Run     python tools/train.py configs/pretraining/pass_tiny30k.py --cfg-options data_root=DIR
        DIR/train/<any folders>/ holds photographs of 64 pixels; only pretraining is run. Keep some
        for the score out of it: move every 15th file of each folder to DIR/held-out/<folder>/
Time    see docs/results.md
Score   k-NN over categories of held-out photographs: tools/evaluate_features.py, docs/results.md
Labels  none
"""

_base_ = '../luss/pass_folder.py'

stage_order = ['pretrain']
evaluate = False
num_categories = 200  # of no use to pretraining
backbone = dict(strides=(1, 2, 2, 2))  # the deepest maps have 2 x 2 cells; other recipes undo it
num_workers = 1
checkpoint_interval = 1
pretrain_epochs = 12
pretrain_views = [
    dict(num=2, size=48, scale=(0.3, 1.0)),
    dict(num=2, size=32, scale=(0.08, 0.3)),
]
num_prototypes = 500
queue_length = 1024
queue_start_epoch = 1
frozen_prototype_iters = 0
pretrain_lr = 0.001
pretrain_warmup_epochs = 1
pretrain_warmup_start = 0.05
# With PASS's .05 the image loss stayed at log P for the first 30,000 images, with .02 it did not.
pass_pretrainer = dict(epsilon=0.02)
