"""RF-ConvNeXt-T, multiple: branches around the dilations that the search has found.

Run     bash tools/dist_train.sh configs/imagenet_s/rf_convnext_tiny_multiple.py 8 --cfg-options \
            data_root=DATA/ImageNetS919 checkpoint=FILE.pth
        (FILE.pth: the published weights, converted by tools/convert_checkpoint.py)
Time    not measured
Score   50.8 / 50.5 mIoU val / test, quoted from ImageNetSegModel; ours not measured
Labels  train-semi masks: training; validation masks: scoring. Predicted ids are category ids:
        nothing is matched (protocol semi). The pretrained weights have seen
        the image-level labels of ImageNet

Run rf_convnext_tiny_search first; see rf_convnext_tiny_single. Layer decay .55 and drop path .1 are
those of the authors' command.
"""

_base_ = './rf_convnext_tiny_single.py'

backbone = dict(drop_path_rate=0.1)
layer_decay = 0.55
stages = dict(finetune=dict(model=dict(mode='multiple', num_branches=3, expansion=0.5)))
