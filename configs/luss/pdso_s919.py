"""PDSO on ImageNet-S (919 categories), ResNet-50: PASS + DFF + CSD + SPO with SAM ViT-B.

Run     bash tools/dist_train.sh configs/luss/pdso_s919.py 8 --cfg-options \
            data_root=DATA/ImageNetS919 segmenter.checkpoint=sam_vit_b_01ec64.pth
Time    not measured
Score   14.5 mIoU test, quoted from the PDSO paper; ours not measured
Labels  validation masks for matching and scoring only; SAM was trained on human masks

Inferred: as pdso_s300.py. Pretraining sees all of ImageNet train, as PASS's own S919 script.
"""

_base_ = './pdso_s300.py'

data_root = 'data/ImageNetS919'
num_categories = 919
pretrain_splits = ['train-full']
