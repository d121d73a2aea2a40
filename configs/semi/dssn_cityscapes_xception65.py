"""DSSN on Cityscapes, DeepLabv3+ on Xception-65.

Run     bash tools/dist_train.sh configs/semi/dssn_cityscapes_xception65.py 4 --cfg-options \
            data_root=CITYSCAPES split_root=LISTS split=1_8 checkpoint=FILE.pth
        (LISTS/1_8/labeled.txt and unlabeled.txt, LISTS/val.txt: lines `image mask`)
        (FILE.pth: timm's weights, after tools/convert_checkpoint.py timm-xception)
Time    not measured
Score   none published; ours not measured
Labels  masks of the labelled images: training; validation masks: scoring. The pretrained weights
        have seen the image-level labels of ImageNet

split       1_16   1_8    1_4    1_2
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/semi_cityscapes.py',
    '../_base_/models/deeplabv3plus_xception65.py',
    '../_base_/schedules/schedule_dssn_cityscapes.py',
    '../_base_/dssn_published_cityscapes.py',
]

decode_head = dict(loss_decode='${hard_pixel_loss}')
segmentor = dict(type='WindowSegmentor')
