"""The supervised baseline of dssn_voc_resnet50: the labelled images alone.

Run     bash tools/dist_train.sh configs/semi/supervised_voc_resnet50.py 4 --cfg-options \
            data_root=VOC2012 split_root=LISTS split=1_8 iterations=115800 \
            checkpoint=FILE.pth
        (LISTS/1_8/labeled.txt and unlabeled.txt, LISTS/val.txt: lines `image mask`)
        (FILE.pth: weights of a ResNet with a stem of three convolutions, after
        tools/convert_checkpoint.py deep-stem-resnet)
Time    not measured
Score   none published; ours not measured
Labels  masks of the labelled images: training; validation masks: scoring. The pretrained weights
        have seen the image-level labels of ImageNet

The same network, weak view and schedule, for as many iterations as DSSN makes in its passes over
the unlabelled images. They depend on the split: set both.

split       92      183     366     732     1464    1_16    1_8     1_4     1_2
iterations  131200  130000  127700  123200  114000  124000  115800  99200   66200
"""

_base_ = './dssn_voc_resnet50.py'

semi_supervised = False
