"""DSSN on COCO 2017, DeepLabv3+ on Xception-65.

Run     bash tools/dist_train.sh configs/semi/dssn_coco_xception65.py 4 --cfg-options \
            data_root=COCO split_root=LISTS split=./1_128 checkpoint=FILE.pth
        (LISTS/1_128/labeled.txt and unlabeled.txt, LISTS/val.txt: lines `image mask`;
        mmengine would read split=1_128 as a number, so say ./1_128)
        (FILE.pth: timm's weights, after tools/convert_checkpoint.py timm-xception)
Time    not measured
Score   none published; ours not measured
Labels  masks of the labelled images: training; validation masks: scoring. The pretrained weights
        have seen the image-level labels of ImageNet

DSSN has published no run on COCO: the settings are those of VOC.

split       1_512  1_256  1_128  1_64   1_32
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/semi_coco.py',
    '../_base_/models/deeplabv3plus_xception65.py',
    '../_base_/schedules/schedule_dssn_voc.py',
    '../_base_/dssn_published.py',
]

resize_scale = (640, 640)  # the longer side; it is scaled by 0.5 to 2
iterations = 1467100  # of the baseline, as many as DSSN makes for split 1_128
