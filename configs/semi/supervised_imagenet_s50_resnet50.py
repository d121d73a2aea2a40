"""The supervised baseline of dssn_imagenet_s50_resnet50: the images of train-semi alone.

Run     bash tools/dist_train.sh configs/semi/supervised_imagenet_s50_resnet50.py 4 --cfg-options \
            data_root=DATA/ImageNetS50 checkpoint=FILE.pth
Time    not measured
Score   none published; ours not measured
Labels  train-semi masks: training; validation masks: scoring. Predicted ids are category ids:
        nothing is matched (protocol semi)

The same network, weak view and schedule, for the 20140 iterations that DSSN makes in 10 passes over
the 64,431 images of train.
"""

_base_ = './dssn_imagenet_s50_resnet50.py'

semi_supervised = False
