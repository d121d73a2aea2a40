"""The supervised baseline of dssn_coco_xception65: the labelled images alone.

Run     bash tools/dist_train.sh configs/semi/supervised_coco_xception65.py 4 --cfg-options \
            data_root=COCO split_root=LISTS split=./1_128 iterations=1467100 \
            checkpoint=FILE.pth
        (LISTS/1_128/labeled.txt and unlabeled.txt, LISTS/val.txt: lines `image mask`;
        mmengine would read split=1_128 as a number, so say ./1_128)
        (FILE.pth: timm's weights, after tools/convert_checkpoint.py timm-xception)
Time    not measured
Score   none published; ours not measured
Labels  masks of the labelled images: training; validation masks: scoring. The pretrained weights
        have seen the image-level labels of ImageNet

The same network, weak view and schedule, for as many iterations as DSSN makes in its passes over
the unlabelled images. They depend on the split: set both.

split       1_512    1_256    1_128    1_64     1_32
iterations  1475700  1472800  1467100  1455500  1432400
"""

_base_ = './dssn_coco_xception65.py'

semi_supervised = False
