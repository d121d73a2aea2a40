"""Contrastive pretraining on Tiny ImageNet's small photographs: weights that saw no label.

Run     luss train simclr_tiny30k data_root=DIR        (DIR as for pass_tiny30k.py)
Time    see docs/results.md
Score   k-NN over categories of held-out photographs: tools/evaluate_features.py, docs/results.md
Labels  none
"""

_base_ = './pass_tiny30k.py'

pretraining = 'contrastive'
batch_size = 128
pretrain_epochs = 24
pretrain_views = [
    dict(num=2, size=48, scale=(0.2, 1.0)),
    dict(num=2, size=32, scale=(0.08, 0.3)),
]
pretrain_lr = 0.002
