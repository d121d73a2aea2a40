"""RF-ConvNeXt-T, single: ConvNeXt-T with the dilations that the search has found.

Run     bash tools/dist_train.sh configs/imagenet_s/rf_convnext_tiny_single.py 8 --cfg-options \
            data_root=DATA/ImageNetS919 checkpoint=FILE.pth
        (FILE.pth: the published weights, converted by tools/convert_checkpoint.py)
Time    not measured
Score   50.7 / 50.5 mIoU val / test, quoted from ImageNetSegModel; ours not measured
Labels  train-semi masks: training; validation masks: scoring. Predicted ids are category ids:
        nothing is matched (protocol semi). The pretrained weights have seen
        the image-level labels of ImageNet

Run rf_convnext_tiny_search first. As the authors do, the search gives the dilations and
ConvNeXt the weights; checkpoint=work_dirs/rf_convnext_tiny_search/finetune/final.pth takes both
from the search.
"""

_base_ = './convnext_tiny.py'

search = 'work_dirs/rf_convnext_tiny_search/finetune'
structure = '${search}/receptive_fields.json'
needed_files = dict(search='${structure}')
# Dilated convolutions train at 10 x base_lr and fall by .9 a layer.
searched_rates = dict(layer_decay=0.9, multiplier=10)
stages = dict(
    finetune=dict(
        model=dict(type='ReceptiveFieldSegmentor', mode='single', structure='${structure}')
    )
)
