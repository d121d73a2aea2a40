"""The supervised baseline of dssn_cityscapes_resnet50: the labelled images alone.

Run     bash tools/dist_train.sh configs/semi/supervised_cityscapes_resnet50.py 4 --cfg-options \
            data_root=CITYSCAPES split_root=LISTS split=1_8 iterations=156240 \
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

split       1_16     1_8      1_4      1_2
iterations  167520   156240   133920   89280
"""

_base_ = './dssn_cityscapes_resnet50.py'

semi_supervised = False
