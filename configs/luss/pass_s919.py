"""PASS on ImageNet-S (919 categories), ResNet-50.

Run     bash tools/dist_train.sh configs/luss/pass_s919.py 8 \
            --cfg-options data_root=DATA/ImageNetS919
Time    not measured
Score   11.5 / 11.0 mIoU val / test, quoted from the PASS paper (threshold .37 from its validation
        sweep; its script pretrains and fine-tunes on all of ImageNet train); ours not measured
Labels  validation masks for matching and scoring only
"""

_base_ = './pass_s300.py'

data_root = 'data/ImageNetS919'
num_categories = 919
# The authors train on the whole of ImageNet; `train` holds the 919 categories alone.
pretrain_splits = ['train-full']
