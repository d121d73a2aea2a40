"""RF-ConvNeXt-T, search: dilations of ConvNeXt-T for ImageNet-S.

Run     bash tools/dist_train.sh configs/imagenet_s/rf_convnext_tiny_search.py 8 --cfg-options \
            data_root=DATA/ImageNetS919 checkpoint=FILE.pth
        (FILE.pth: the published weights, converted by tools/convert_checkpoint.py)
Time    not measured
Score   none published (the search precedes single, multiple and merge); ours not measured
Labels  train-semi masks: training; validation masks: scoring. Predicted ids are category ids:
        nothing is matched (protocol semi). The pretrained weights have seen
        the image-level labels of ImageNet

Its work directory holds finetune/receptive_fields.json, which modes single and multiple take.
"""

_base_ = './convnext_tiny.py'

# Branch weights train at 10 x base_lr and fall by .9 a layer.
searched_rates = dict(layer_decay=0.9, multiplier=10)
search_interval = 10  # epochs
search_steps = 3
stages = dict(
    finetune=dict(
        model=dict(type='ReceptiveFieldSegmentor', mode='search', num_branches=3, expansion=0.5),
        custom_hooks=[
            dict(type='FinalValidationHook'),
            dict(type='PretrainedWeightsHook', files='${needed_files}'),
            dict(type='ReceptiveFieldHook', interval='${search_interval}', steps='${search_steps}'),
        ],
    )
)
